// Applying a snapshot (docs/format.md section 14.3, O-16). The active L1 table is not overwritten: a copy of the
// snapshot's is written beside it, and one write of one sector of the header makes it the active one, together with the
// snapshot's disk size. A crash leaves the old disk or the new one, whatever their sizes.
//
// COPIED needs no second look: whatever the new active tables refer to, the snapshot refers to as well.

#include "base/endian.h"
#include "base/probe.h"
#include "data/exclusive.h"
#include "data/qcow2_disk.h"
#include "data/snapshot_tables.h"

namespace byre {

Task<Result<void>> Qcow2Disk::apply_snapshot(std::size_t index) {
  BYRE_CO_CHECK(co_await check_sound());
  Task<Result<void>> work = do_apply(index);
  co_return co_await exclusively(std::move(work));
}

Task<Result<void>> Qcow2Disk::do_apply(std::size_t index) {
  BYRE_CO_TRY(const SnapshotTables tables, co_await snapshot_tables());
  const format::Snapshot& snapshot = tables.before.at(index);
  BYRE_CO_CHECK(check_usable(snapshot, header_, storage_->size_bytes()));
  BYRE_CO_TRY(std::vector<std::uint64_t> stored,
              co_await read_table(*storage_, snapshot.l1_table, snapshot.l1_entries));
  std::vector<std::uint64_t> l1 = without_copied(std::move(stored));
  TreeCounts now(*storage_, geometry_, tree(l1));
  BYRE_CO_CHECK(co_await now.check(CountChange::raise));
  std::vector<ClusterRun> old_l1 = clusters_of(metadata_->l1_offset(), metadata_->l1_entries() * 8);
  TreeCounts before(*storage_, geometry_, tree(metadata_->l1(), std::move(old_l1)));
  Undo undo;
  auto done = co_await apply_in_steps(snapshot, std::move(l1), now, undo);
  if (!done) {
    co_await take_back(undo);
    co_return done;
  }
  BYRE_PROBE("data: a snapshot is applied");
  [[maybe_unused]] const auto lowered = co_await lower_counts(before);
  co_return done;
}

Task<Result<void>> Qcow2Disk::apply_in_steps(const format::Snapshot& snapshot, std::vector<std::uint64_t> l1,
                                             TreeCounts& counts, Undo& undo) {
  BYRE_CO_TRY(const HostOffset at, co_await allocate_region(l1.size() * 8, undo));
  BYRE_CO_CHECK(co_await settle());
  BYRE_CO_CHECK(co_await write_l1(at, l1));
  BYRE_CO_CHECK(co_await clear_copied(*storage_, geometry_, l1));  // other writers may have left it
  BYRE_CO_CHECK(co_await raise_counts(counts, undo));
  std::byte fields[24];  // the size, what lies between, and the 12 bytes of the L1 table
  store_be64(fields, snapshot.disk_size_bytes.value_or(size_bytes_));
  store_be32(fields + 8, static_cast<std::uint32_t>(header_.crypt_method));
  store_be32(fields + 12, static_cast<std::uint32_t>(l1.size()));
  store_be64(fields + 16, at.bytes);
  undo.published = true;
  const ConstBytes bytes(fields);
  BYRE_CO_CHECK(co_await write_bytes(*storage_, format::header_field::virtual_size, bytes));
  co_return co_await storage_->flush();
}

}  // namespace byre
