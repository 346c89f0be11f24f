// Taking and deleting internal snapshots (docs/format.md section 14.3, O-13 to O-15). Both write a new snapshot table
// and switch to it with 12 bytes of the header, in one sector.
//
// Taking: COPIED off, counts up, the header. Deleting: the header, counts down, COPIED on. So COPIED never stands at a
// cluster that is shared, and at every moment each count is at least the number of references: what a crash leaves are
// leaks, and on version 3 the dirty bit, which has them repaired.

#include <algorithm>
#include <charconv>

#include "base/endian.h"
#include "base/probe.h"
#include "base/text.h"
#include "data/exclusive.h"
#include "data/qcow2_disk.h"
#include "data/range.h"
#include "data/snapshot_tables.h"
#include "format/limits.h"

namespace byre {
namespace {

constexpr std::uint64_t state_cache_bytes = 256 << 10;  // there may be a thousand states

// One above the highest id that is a number (section 14.1).
std::string next_id(const std::vector<format::Snapshot>& snapshots) {
  std::uint64_t highest = 0;
  for (const format::Snapshot& snapshot : snapshots) {
    std::uint64_t id = 0;
    const char* end = snapshot.id.data() + snapshot.id.size();
    const auto parsed = std::from_chars(snapshot.id.data(), end, id);
    if (parsed.ec == std::errc() && parsed.ptr == end && id < ~std::uint64_t{0}) highest = std::max(highest, id);
  }
  return std::to_string(highest + 1);
}

}  // namespace

Task<Result<std::vector<format::Snapshot>>> Qcow2Disk::snapshots() {
  co_return co_await read_snapshots(*storage_, header_);
}

Task<Result<std::unique_ptr<Qcow2Disk>>> Qcow2Disk::open_state(const format::Snapshot& snapshot) {
  LoadOptions wanted;
  wanted.cache_size_bytes = state_cache_bytes;
  wanted.state = snapshot;
  Parts parts;
  BYRE_CO_TRY(parts.image, co_await load_image(*storage_, header_, std::move(wanted)));
  parts.storage = storage_;
  parts.backing = backing_;
  parts.cache_size_bytes = state_cache_bytes;
  parts.log = log_;
  co_return std::make_unique<Qcow2Disk>(std::move(parts));
}

Task<Result<Qcow2Disk::SnapshotTables>> Qcow2Disk::snapshot_tables() {
  SnapshotTables tables;
  BYRE_CO_TRY(tables.before, co_await read_snapshots(*storage_, header_));
  BYRE_CO_CHECK(format::check_snapshots_disjoint(tables.before, geometry_));
  tables.after = tables.before;
  co_return tables;
}

// Decides what will be written, and where.
Task<Result<void>> Qcow2Disk::allocate_snapshot_table(SnapshotTables& tables, Undo& undo) {
  if (tables.after.empty()) co_return Result<void>{};
  BYRE_CO_TRY(tables.bytes, format::encode_snapshot_table(tables.after, size_bytes_));
  BYRE_CO_TRY(tables.at, co_await allocate_region(tables.bytes.size(), undo));
  co_return Result<void>{};
}

// The table is durable before the header names it. Without snapshots there is none.
Task<Result<void>> Qcow2Disk::switch_snapshot_table(const SnapshotTables& tables, Undo& undo) {
  const ConstBytes table(tables.bytes);
  if (!table.empty()) BYRE_CO_CHECK(co_await write_bytes(*storage_, tables.at.bytes, table));
  BYRE_CO_CHECK(co_await storage_->flush());
  std::byte fields[12];
  store_be32(fields, static_cast<std::uint32_t>(tables.after.size()));
  store_be64(fields + 4, tables.at.bytes);
  undo.published = true;
  const ConstBytes header(fields);
  BYRE_CO_CHECK(co_await write_bytes(*storage_, format::header_field::snapshots, header));
  co_return co_await storage_->flush();
}

Task<Result<void>> Qcow2Disk::replace_snapshot_table(SnapshotTables& tables) {
  Undo undo;
  auto done = co_await allocate_snapshot_table(tables, undo);
  if (done) done = co_await settle();
  if (done) done = co_await switch_snapshot_table(tables, undo);
  if (!done) co_await take_back(undo);
  co_return done;
}

Task<Result<std::string>> Qcow2Disk::create_snapshot(format::Snapshot snapshot) {
  std::string id;
  BYRE_CO_CHECK(co_await check_sound());
  Task<Result<void>> work = do_create(std::move(snapshot), id);
  BYRE_CO_CHECK(co_await exclusively(std::move(work)));
  co_return id;
}

Task<Result<void>> Qcow2Disk::do_create(format::Snapshot snapshot, std::string& id) {
  BYRE_CO_TRY(SnapshotTables tables, co_await snapshot_tables());
  if (tables.before.size() >= format::max_snapshots) {
    co_return fail(ErrorCode::unsupported, "the image has {} snapshots already, the most that the format allows",
                   tables.before.size());
  }
  snapshot.id = next_id(tables.before);
  snapshot.disk_size_bytes = size_bytes_;
  snapshot.l1_entries = static_cast<std::uint32_t>(metadata_->l1_entries());
  snapshot.extra_data_bytes = 24;
  id = snapshot.id;
  tables.after.push_back(std::move(snapshot));
  TreeCounts counts(*storage_, geometry_, tree(metadata_->l1()));
  BYRE_CO_CHECK(co_await counts.check(CountChange::raise));
  Undo undo;
  auto done = co_await create_in_steps(tables, counts, undo);
  if (!done) {
    co_await take_back(undo);
    co_return done;
  }
  const auto dropped = co_await drop_vm_state();
  if (!dropped) counts_doubtful_ = true;
  co_return done;
}

// Only the snapshot needs it (section 14.2).
Task<Result<void>> Qcow2Disk::drop_vm_state() {
  if (metadata_->l1_entries() <= geometry_.required_l1_entries(size_bytes_)) co_return Result<void>{};
  BYRE_CO_CHECK(co_await reload());
  BYRE_CO_CHECK(co_await give_up_behind_end());
  co_return co_await settle();
}

Task<Result<void>> Qcow2Disk::create_in_steps(SnapshotTables& tables, TreeCounts& counts, Undo& undo) {
  const std::vector<std::uint64_t> l1 = without_copied(metadata_->l1());
  BYRE_CO_TRY(const HostOffset copy, co_await allocate_region(l1.size() * 8, undo));
  tables.after.back().l1_table = copy;
  BYRE_CO_CHECK(co_await allocate_snapshot_table(tables, undo));
  BYRE_CO_CHECK(co_await settle());
  BYRE_CO_CHECK(co_await write_l1(copy, l1));
  undo.flags_cleared = true;
  BYRE_CO_CHECK(co_await clear_copied(*storage_, geometry_, l1));
  BYRE_CO_CHECK(co_await write_l1(metadata_->l1_offset(), l1));
  BYRE_CO_CHECK(co_await storage_->flush());
  BYRE_CO_CHECK(co_await raise_counts(counts, undo));
  BYRE_CO_CHECK(co_await switch_snapshot_table(tables, undo));
  BYRE_PROBE("data: a snapshot is taken");
  const std::vector<ClusterRun> old_table = tables.old_clusters(geometry_, header_);
  TreeCounts old(*storage_, geometry_, tree({}, old_table));
  [[maybe_unused]] const auto lowered = co_await lower_counts(old);
  co_return Result<void>{};
}

Task<Result<void>> Qcow2Disk::delete_snapshot(std::size_t index) {
  BYRE_CO_CHECK(co_await check_sound());
  Task<Result<void>> work = do_delete(index);
  co_return co_await exclusively(std::move(work));
}

Task<Result<void>> Qcow2Disk::do_delete(std::size_t index) {
  BYRE_CO_TRY(SnapshotTables tables, co_await snapshot_tables());
  const format::Snapshot snapshot = tables.before.at(index);
  BYRE_CO_CHECK(format::check_snapshot_l1(snapshot, geometry_, size_bytes_, header_.l1_table, storage_->size_bytes()));
  tables.after.erase(tables.after.begin() + static_cast<std::ptrdiff_t>(index));
  BYRE_CO_TRY(std::vector<std::uint64_t> l1, co_await read_table(*storage_, snapshot.l1_table, snapshot.l1_entries));
  std::vector<ClusterRun> others = tables.old_clusters(geometry_, header_);
  for (const ClusterRun& run : clusters_of(snapshot.l1_table, l1.size() * 8)) others.push_back(run);
  TreeCounts counts(*storage_, geometry_, tree(std::move(l1), std::move(others)));
  BYRE_CO_CHECK(co_await replace_snapshot_table(tables));
  BYRE_PROBE("data: a snapshot is deleted");
  const auto lowered = co_await lower_counts(counts);
  if (!lowered) co_return Result<void>{};
  const auto marked = co_await mark_copied();
  if (!marked) counts_doubtful_ = true;
  co_return Result<void>{};
}

}  // namespace byre
