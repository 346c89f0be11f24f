// Entries have no length field of their own: 40 fixed bytes tell how much extra data, id and name follow, so the table
// is walked from its start. The walk bounds all lengths before anything is copied. Left out: the L1 tables themselves.
#include "format/snapshot_table.h"

#include <algorithm>
#include <utility>

#include "base/endian.h"
#include "base/text.h"
#include "format/region.h"

namespace byre::format {
namespace {

constexpr std::uint64_t known_extra_data_bytes = 24;
constexpr std::uint64_t no_instruction_count = ~std::uint64_t{0};

std::uint64_t entry_bytes(const Snapshot& snapshot) {
  return snapshot_entry_min_bytes + known_extra_data_bytes + snapshot.unknown_extra_data.size() + snapshot.id.size() +
         snapshot.name.size();
}

// The length of the entry whose first 40 bytes are `fixed` (H-40).
Result<std::uint64_t> read_entry_length(ConstBytes fixed, std::uint64_t index) {
  const std::uint32_t extra_bytes = load_be32(fixed.data() + 36);
  if (extra_bytes > max_snapshot_extra_data_bytes) {
    return fail(ErrorCode::corrupt, "snapshot {} has {} bytes of extra data, above the limit of {}", index, extra_bytes,
                max_snapshot_extra_data_bytes);
  }
  return snapshot_entry_min_bytes + extra_bytes + load_be16(fixed.data() + 12) + load_be16(fixed.data() + 14);
}

// A field exists if the extra data covers its end.
void decode_extra_data(ConstBytes extra, Snapshot& snapshot) {
  snapshot.extra_data_bytes = static_cast<std::uint32_t>(extra.size());
  if (extra.size() >= 8) snapshot.vm_state_bytes = load_be64(extra.data());
  if (extra.size() >= 16) snapshot.disk_size_bytes = load_be64(extra.data() + 8);
  if (extra.size() < known_extra_data_bytes) return;
  const std::uint64_t count = load_be64(extra.data() + 16);
  if (count != no_instruction_count) snapshot.instruction_count = count;
  const ConstBytes unknown = extra.subspan(known_extra_data_bytes);
  snapshot.unknown_extra_data.assign(unknown.begin(), unknown.end());
}

// `entry` is complete, without padding.
Snapshot decode_entry(ConstBytes entry) {
  const std::byte* at = entry.data();
  Snapshot snapshot;
  snapshot.l1_table = HostOffset(load_be64(at));
  snapshot.l1_entries = load_be32(at + 8);
  snapshot.date_seconds = load_be32(at + 16);
  snapshot.date_nanoseconds = load_be32(at + 20);
  snapshot.vm_clock_nanoseconds = load_be64(at + 24);
  snapshot.vm_state_bytes = load_be32(at + 32);
  const std::size_t extra_bytes = load_be32(at + 36);
  decode_extra_data(entry.subspan(snapshot_entry_min_bytes, extra_bytes), snapshot);
  const auto* text = reinterpret_cast<const char*>(at + snapshot_entry_min_bytes + extra_bytes);
  snapshot.id.assign(text, load_be16(at + 12));
  snapshot.name.assign(text + snapshot.id.size(), load_be16(at + 14));
  return snapshot;
}

void encode_entry(const Snapshot& snapshot, std::uint64_t virtual_size_bytes, std::byte* to) {
  const bool fits_32_bits = snapshot.vm_state_bytes <= 0xffff'ffff;
  store_be64(to, snapshot.l1_table.bytes);
  store_be32(to + 8, snapshot.l1_entries);
  store_be16(to + 12, static_cast<std::uint16_t>(snapshot.id.size()));
  store_be16(to + 14, static_cast<std::uint16_t>(snapshot.name.size()));
  store_be32(to + 16, snapshot.date_seconds);
  store_be32(to + 20, snapshot.date_nanoseconds);
  store_be64(to + 24, snapshot.vm_clock_nanoseconds);
  store_be32(to + 32, fits_32_bits ? static_cast<std::uint32_t>(snapshot.vm_state_bytes) : 0);
  store_be32(to + 36, static_cast<std::uint32_t>(known_extra_data_bytes + snapshot.unknown_extra_data.size()));
  store_be64(to + 40, snapshot.vm_state_bytes);
  store_be64(to + 48, snapshot.disk_size_bytes.value_or(virtual_size_bytes));
  store_be64(to + 56, snapshot.instruction_count.value_or(no_instruction_count));
  to = std::copy(snapshot.unknown_extra_data.begin(), snapshot.unknown_extra_data.end(), to + 64);
  const auto id = std::as_bytes(std::span(snapshot.id));
  const auto name = std::as_bytes(std::span(snapshot.name));
  std::copy(name.begin(), name.end(), std::copy(id.begin(), id.end(), to));
}

Result<> check_encodable(const Snapshot& snapshot) {
  if (snapshot.id.size() > max_snapshot_text_bytes || snapshot.name.size() > max_snapshot_text_bytes) {
    return fail(ErrorCode::invalid_argument, "snapshot ids and names have at most {} bytes", max_snapshot_text_bytes);
  }
  if (snapshot.unknown_extra_data.size() > max_snapshot_extra_data_bytes - known_extra_data_bytes) {
    return fail(ErrorCode::invalid_argument, "a snapshot's extra data has at most {} bytes",
                max_snapshot_extra_data_bytes);
  }
  return {};
}

std::string describe_name(const Snapshot& snapshot) {
  return fmt::format("snapshot '{}'", escape_untrusted(snapshot.name));
}

}  // namespace

Result<std::uint64_t> snapshot_table_bytes_needed(ConstBytes first_bytes, std::uint64_t count) {
  if (count > max_snapshots) {
    return fail(ErrorCode::corrupt, "{} snapshots, above the limit of {}", count, max_snapshots);
  }
  std::uint64_t at = 0;
  for (std::uint64_t index = 0; index < count; ++index) {
    at = round_up(at, 8);
    if (!fits_within(at, snapshot_entry_min_bytes, first_bytes.size())) {
      at += (count - index) * snapshot_entry_min_bytes;
      break;
    }
    BYRE_TRY(const std::uint64_t length, read_entry_length(first_bytes.subspan(at, snapshot_entry_min_bytes), index));
    at += length;
  }
  if (at > max_snapshot_table_bytes) {
    return fail(ErrorCode::corrupt, "the snapshot table has at least {} bytes, above the limit of {}", at,
                max_snapshot_table_bytes);
  }
  return at;
}

Result<std::vector<Snapshot>> decode_snapshot_table(ConstBytes table, std::uint64_t count) {
  BYRE_TRY(const std::uint64_t needed, snapshot_table_bytes_needed(table, count));
  if (needed > table.size()) {
    return fail(ErrorCode::corrupt, "the snapshot table ends after {} bytes, its {} entries need at least {}",
                table.size(), count, needed);
  }
  std::vector<Snapshot> snapshots;
  snapshots.reserve(count);
  std::uint64_t at = 0;
  for (std::uint64_t index = 0; index < count; ++index) {
    at = round_up(at, 8);
    BYRE_TRY(const std::uint64_t length, read_entry_length(table.subspan(at), index));
    snapshots.push_back(decode_entry(table.subspan(at, length)));
    at += length;
  }
  return snapshots;
}

std::uint64_t snapshot_table_bytes(const std::vector<Snapshot>& snapshots) {
  std::uint64_t at = 0;
  for (const Snapshot& snapshot : snapshots) at = round_up(at, 8) + entry_bytes(snapshot);
  return at;
}

std::uint64_t stored_snapshot_table_bytes(const std::vector<Snapshot>& snapshots) {
  std::uint64_t at = 0;
  for (const Snapshot& snapshot : snapshots) {
    at = round_up(at, 8) + snapshot_entry_min_bytes + snapshot.extra_data_bytes + snapshot.id.size() +
         snapshot.name.size();
  }
  return at;
}

Result<std::vector<std::byte>> encode_snapshot_table(const std::vector<Snapshot>& snapshots,
                                                     std::uint64_t virtual_size_bytes) {
  if (snapshots.size() > max_snapshots) {
    return fail(ErrorCode::no_space, "{} snapshots, above the limit of {}", snapshots.size(), max_snapshots);
  }
  for (const Snapshot& snapshot : snapshots) {
    BYRE_CHECK(check_encodable(snapshot));
  }
  const std::uint64_t size_bytes = snapshot_table_bytes(snapshots);
  if (size_bytes > max_snapshot_table_bytes) {
    return fail(ErrorCode::no_space, "the snapshot table needs {} bytes, above the limit of {}", size_bytes,
                max_snapshot_table_bytes);
  }
  std::vector<std::byte> table(size_bytes);
  std::uint64_t at = 0;
  for (const Snapshot& snapshot : snapshots) {
    at = round_up(at, 8);
    encode_entry(snapshot, virtual_size_bytes, table.data() + at);
    at += entry_bytes(snapshot);
  }
  return table;
}

Result<> check_snapshot_l1(const Snapshot& snapshot, const Geometry& geometry, std::uint64_t virtual_size_bytes,
                           HostOffset active_l1_table, std::uint64_t file_size_bytes) {
  const std::uint64_t needed = geometry.required_l1_entries(snapshot.disk_size_bytes.value_or(virtual_size_bytes));
  if (snapshot.l1_entries > max_l1_entries || snapshot.l1_entries < needed) {
    return fail(ErrorCode::corrupt, "{}: the L1 table has {} entries, its disk needs {} and {} is the limit",
                describe_name(snapshot), snapshot.l1_entries, needed, max_l1_entries);
  }
  const std::string name = describe_name(snapshot) + ": L1 table";
  if (snapshot.l1_entries == 0) return check_table_alignment(name, snapshot.l1_table, geometry);
  BYRE_CHECK(
      check_table_region(name, snapshot.l1_table, std::uint64_t{snapshot.l1_entries} * 8, geometry, file_size_bytes));
  if (snapshot.l1_table == active_l1_table) {
    return fail(ErrorCode::corrupt, "{} at {:#x} is the active one", name, snapshot.l1_table.bytes);
  }
  return {};
}

Result<> check_snapshot_disk_size(const Snapshot& snapshot, const Geometry& geometry) {
  if (!snapshot.disk_size_bytes) return {};
  const std::uint64_t size_bytes = *snapshot.disk_size_bytes;
  if (size_bytes % sector_bytes != 0 || geometry.required_l1_entries(size_bytes) > max_l1_entries) {
    return fail(ErrorCode::corrupt, "{}: disk size {} is not a multiple of {} that an L1 table can map",
                describe_name(snapshot), size_bytes, sector_bytes);
  }
  return {};
}

Result<> check_snapshots_disjoint(const std::vector<Snapshot>& snapshots, const Geometry& geometry) {
  std::vector<std::pair<std::uint64_t, const Snapshot*>> starts;  // in clusters: lengths cannot make them wrap
  for (const Snapshot& snapshot : snapshots) {
    if (snapshot.l1_entries > 0) starts.emplace_back(geometry.cluster_index(snapshot.l1_table), &snapshot);
  }
  std::sort(starts.begin(), starts.end());
  for (std::size_t i = 1; i < starts.size(); ++i) {
    const auto& [start, before] = starts[i - 1];
    if (start + geometry.clusters_for(std::uint64_t{before->l1_entries} * 8) > starts[i].first) {
      return fail(ErrorCode::corrupt, "{} and {} share an L1 table at {:#x}", describe_name(*before),
                  describe_name(*starts[i].second), starts[i].second->l1_table.bytes);
    }
  }
  return {};
}

Result<> check_snapshots_fit_version_2(const std::vector<Snapshot>& snapshots, std::uint64_t now_bytes,
                                       std::uint64_t size_bytes) {
  for (const Snapshot& snapshot : snapshots) {
    const bool same_size = snapshot.disk_size_bytes.value_or(now_bytes) == size_bytes;
    if (same_size && snapshot.vm_state_bytes >> 32 == 0) continue;
    return fail(
        ErrorCode::unsupported,
        "version 2 (compat=0.10) cannot have snapshot '{}': its disk has another size, or more than 4 GiB of VM state",
        escape_untrusted(snapshot.id));
  }
  return {};
}

}  // namespace byre::format
