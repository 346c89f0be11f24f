// A table that breaks a limit is walked entry by entry for what of it can be kept. L1 tables are judged one by one: one
// that lies outside the file, or upon another, is not followed, so that all of them together are never more work than
// the file is long (H-29, H-43).

#include "check/snapshots.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/endian.h"
#include "base/math.h"
#include "base/text.h"
#include "format/limits.h"
#include "format/region.h"

namespace byre::check {
namespace {

using Snapshots = std::vector<format::Snapshot>;

constexpr std::uint32_t min_extra_data_version_3 = 16;

Task<Result<Buffer>> read_table_bytes(Storage& storage, const Image& image) {
  const std::uint64_t start = image.header.snapshot_table.bytes;
  const std::uint64_t available = std::min(image.file_size_bytes - start, format::max_snapshot_table_bytes);
  std::uint64_t length = std::min<std::uint64_t>(available, std::uint64_t{image.header.snapshot_count} * 128);
  for (;;) {
    Buffer bytes(length);
    const Bytes target = bytes.bytes();
    BYRE_CO_CHECK(co_await read_zero_filled(storage, start, target));
    const auto needed = format::snapshot_table_bytes_needed(bytes.bytes(), image.header.snapshot_count);
    if (length == available || (needed && *needed <= length)) co_return bytes;
    length = std::min(available, std::max(needed.value_or(0), length * 2));
  }
}

// Entries up to the first that does not lie in the table, with extra data cut to its limit.
Snapshots decode_what_can_be(ConstBytes table, std::uint64_t count) {
  Snapshots kept;
  std::uint64_t at = 0;
  while (kept.size() < std::min(count, format::max_snapshots)) {
    at = round_up(at, 8);
    if (!fits_within(at, format::snapshot_entry_min_bytes, table.size())) break;
    const std::byte* fixed = table.data() + at;
    const std::uint64_t extra = load_be32(fixed + 36);
    const std::uint64_t text = std::uint64_t{load_be16(fixed + 12)} + load_be16(fixed + 14);
    const std::uint64_t length = format::snapshot_entry_min_bytes + extra + text;
    if (!fits_within(at, length, table.size())) break;
    const std::uint64_t kept_extra = std::min<std::uint64_t>(extra, format::max_snapshot_extra_data_bytes);
    std::vector<std::byte> entry(fixed, fixed + format::snapshot_entry_min_bytes + kept_extra);
    store_be32(entry.data() + 36, static_cast<std::uint32_t>(kept_extra));
    entry.insert(entry.end(), fixed + format::snapshot_entry_min_bytes + extra, fixed + length);
    const auto decoded = format::decode_snapshot_table(entry, 1);
    if (!decoded) break;
    kept.push_back(decoded->front());
    at += length;
  }
  return kept;
}

void report(Findings& findings, std::string text, std::string meaning, std::string snapshot, bool being_repaired) {
  Finding finding;
  finding.text = "ERROR " + std::move(text);
  finding.meaning = std::move(meaning);
  finding.snapshot = std::move(snapshot);
  finding.being_repaired = being_repaired;
  findings.report(finding);
}

// With Repair::all: what is kept of a table that cannot be read whole. Else nothing, and a check error.
Snapshots cut_down(const Error& error, ConstBytes table, Repair repair, Image& image, Findings& findings) {
  if (repair != Repair::all) {
    findings.error("snapshot table: " + error.message());
    return {};
  }
  Snapshots kept = decode_what_can_be(table, image.header.snapshot_count);
  report(findings, "snapshot table: " + error.message(),
         fmt::format("{} of {} snapshots can be kept.", kept.size(), image.header.snapshot_count), "", true);
  image.snapshot_table_must_change = true;
  return kept;
}

std::string find_fault(const format::Snapshot& snapshot, const Image& image) {
  if (image.header.has_data_file()) return "an image with an external data file cannot have snapshots";
  const auto usable = format::check_snapshot_l1(snapshot, image.geometry, image.header.virtual_size_bytes,
                                                image.header.l1_table, image.file_size_bytes);
  return usable ? "" : usable.error().message();
}

// The end of each L1 table by its start, to find overlaps among them.
using Ranges = std::map<std::uint64_t, std::uint64_t>;

bool overlaps(const Ranges& ranges, std::uint64_t begin, std::uint64_t end) {
  const auto after = ranges.lower_bound(end);
  return after != ranges.begin() && std::prev(after)->second > begin;
}

void judge_snapshots(Snapshots entries, Repair repair, Image& image, Findings& findings) {
  Ranges l1_tables;
  for (format::Snapshot& entry : entries) {
    CheckedSnapshot snapshot;
    snapshot.fault = find_fault(entry, image);
    const std::uint64_t bytes = std::uint64_t{entry.l1_entries} * 8;
    if (snapshot.fault.empty() && overlaps(l1_tables, entry.l1_table.bytes, entry.l1_table.bytes + bytes)) {
      snapshot.fault = fmt::format("snapshot '{}': L1 table at {:#x} overlaps that of another snapshot",
                                   escape_untrusted(entry.name), entry.l1_table.bytes);
    }
    if (snapshot.fault.empty()) {
      if (bytes > 0) l1_tables.emplace(entry.l1_table.bytes, entry.l1_table.bytes + bytes);
      image.regions.push_back({Owner::snapshot_l1_table, entry.l1_table, bytes});
    } else {
      snapshot.dropped = repair == Repair::all;
      image.snapshot_table_must_change |= snapshot.dropped;
      report(findings, snapshot.fault, "The snapshot cannot be used.", entry.id, snapshot.dropped);
    }
    if (image.header.version >= 3 && entry.extra_data_bytes < min_extra_data_version_3) {
      image.snapshot_table_must_change |= repair == Repair::all;
      report(findings,
             fmt::format("snapshot '{}' has {} bytes of extra data, version 3 requires {}",
                         escape_untrusted(entry.name), entry.extra_data_bytes, min_extra_data_version_3),
             "The size of the disk at the time of the snapshot is not recorded; today's is assumed.", entry.id,
             repair == Repair::all);
    }
    snapshot.entry = std::move(entry);
    image.snapshots.push_back(std::move(snapshot));
  }
}

}  // namespace

Task<Result<void>> read_snapshots(Storage& storage, Repair repair, Image& image, Findings& findings) {
  const format::Header& header = image.header;
  if (header.snapshot_count == 0) co_return Result<void>{};
  const auto placed = format::check_table_region(
      "snapshot table", header.snapshot_table, format::snapshot_entry_min_bytes, image.geometry, image.file_size_bytes);
  if (!placed) {
    cut_down(placed.error(), {}, repair, image, findings);
    co_return Result<void>{};
  }
  BYRE_CO_TRY(const Buffer table, co_await read_table_bytes(storage, image));
  auto entries = format::decode_snapshot_table(table.bytes(), header.snapshot_count);
  if (entries) {
    image.snapshot_table_bytes = format::stored_snapshot_table_bytes(*entries);
    image.regions.push_back({Owner::snapshot_table, header.snapshot_table, image.snapshot_table_bytes});
  } else {
    entries = cut_down(entries.error(), table.bytes(), repair, image, findings);
  }
  judge_snapshots(std::move(*entries), repair, image, findings);
  co_return Result<void>{};
}

}  // namespace byre::check
