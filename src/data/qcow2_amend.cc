// Another refcount width and another version, in place (docs/format.md section 19).
//
// Width (O-23): a complete new structure beside the old one, then one write into the first sector of the header, which
// names table and width together. Version 3 to 2 (O-24): no entry may say zero any more. In the tables of the active
// disk and of every snapshot such an entry becomes empty or, where a backing file would show, a new cluster of zeros;
// then a new header. Version 2 to 3: snapshot entries get the extra data that version 3 wants, then a new header.

#include <algorithm>

#include "base/endian.h"
#include "base/probe.h"
#include "base/text.h"
#include "data/exclusive.h"
#include "data/qcow2_disk.h"
#include "data/range.h"
#include "data/refcount_width.h"
#include "data/snapshot_tables.h"
#include "data/zero_expansion.h"

namespace byre {

Task<Result<void>> Qcow2Disk::set_refcount_order(unsigned order) {
  BYRE_CO_CHECK(check_snapshots_possible());
  if (order == geometry_.refcount_order) co_return Result<void>{};
  if (geometry_.version < 3) {
    co_return fail(ErrorCode::unsupported, "refcounts of {} bits need version 3 (compat=1.1)", 1u << order);
  }
  BYRE_CO_CHECK(co_await begin_exclusive());
  const std::uint64_t file_size = storage_->size_bytes();
  bool published = false;
  auto done = co_await do_set_refcount_order(order, published);
  if (!done && published) counts_doubtful_ = true;
  if (!done && !published) [[maybe_unused]]
    const auto cut = co_await storage_->resize(file_size);
  co_return co_await end_exclusive(std::move(done));
}

Task<Result<void>> Qcow2Disk::do_set_refcount_order(unsigned order, bool& published) {
  const std::vector<std::uint64_t> table = metadata_->refcount_table();
  BYRE_CO_TRY(const NewRefcounts made,
              co_await write_refcounts(*storage_, geometry_, header_.refcount_table, table, order));
  BYRE_CO_CHECK(co_await storage_->flush());
  // From the table's place to the width: 52 bytes of one sector.
  std::byte fields[52];
  store_be64(fields, made.table.bytes);
  store_be32(fields + 8, made.table_clusters);
  store_be32(fields + 12, header_.snapshot_count);
  store_be64(fields + 16, header_.snapshot_table.bytes);
  store_be64(fields + 24, header_.incompatible_features);
  store_be64(fields + 32, header_.compatible_features);
  store_be64(fields + 40, header_.autoclear_features);
  store_be32(fields + 48, order);
  published = true;
  const ConstBytes bytes(fields);
  BYRE_CO_CHECK(co_await write_bytes(*storage_, format::header_field::refcount_table, bytes));
  BYRE_CO_CHECK(co_await storage_->flush());
  published = false;
  BYRE_PROBE("data: the refcount width has changed");
  co_await punch_runs(made.old_clusters);
  co_return Result<void>{};
}

Task<Result<void>> Qcow2Disk::upgrade() {
  BYRE_CO_CHECK(check_snapshots_possible());
  if (geometry_.version >= 3) co_return Result<void>{};
  BYRE_CO_CHECK(co_await begin_exclusive());
  auto done = co_await rewrite_snapshot_table();
  co_return co_await end_exclusive(co_await with_new_header(std::move(done), [](format::Header& header) {
    header.version = 3;
    header.header_length = format::default_header_length_version_3;
    header.feature_names = format::default_feature_names(3, header.cluster_bits);
  }));
}

Task<Result<void>> Qcow2Disk::with_new_header(Result<void> before, std::function<void(format::Header&)> change) {
  if (!before) co_return before;
  BYRE_CO_CHECK(co_await reload());
  co_return co_await change_header(std::move(change));
}

// Entries are written with all extra data that is known; only those of old writers have less.
Task<Result<void>> Qcow2Disk::rewrite_snapshot_table() {
  BYRE_CO_TRY(SnapshotTables tables, co_await snapshot_tables());
  const auto is_short = [](const format::Snapshot& snapshot) { return snapshot.extra_data_bytes < 16; };
  if (std::ranges::none_of(tables.before, is_short)) co_return Result<void>{};
  Undo undo;
  auto done = co_await allocate_snapshot_table(tables, undo);
  if (done) done = co_await settle();
  if (done) done = co_await switch_snapshot_table(tables, undo);
  if (!done) {
    co_await take_back(undo);
    co_return done;
  }
  TreeCounts old(*storage_, geometry_, tree({}, tables.old_clusters(geometry_, header_)));
  [[maybe_unused]] const auto lowered = co_await lower_counts(old);
  co_return Result<void>{};
}

Result<void> Qcow2Disk::check_downgrade(const std::vector<format::Snapshot>& snapshots) const {
  if (geometry_.refcount_bits() != 16) {
    return fail(ErrorCode::unsupported,
                "version 2 (compat=0.10) has refcounts of 16 bits, this image of {}: change the "
                "width first",
                geometry_.refcount_bits());
  }
  const std::uint64_t others = header_.incompatible_features & ~format::incompatible::dirty;
  if (others != 0) {
    return fail(ErrorCode::unsupported, "version 2 (compat=0.10) cannot have the incompatible features {:#x}", others);
  }
  for (const format::Snapshot& snapshot : snapshots) {
    if (snapshot.disk_size_bytes.value_or(size_bytes_) == size_bytes_ && snapshot.vm_state_bytes >> 32 == 0) continue;
    return fail(
        ErrorCode::unsupported,
        "version 2 (compat=0.10) cannot have snapshot '{}': its disk has another size, or more than 4 GiB of VM "
        "state",
        escape_untrusted(snapshot.id));
  }
  return {};
}

Task<Result<void>> Qcow2Disk::downgrade() {
  BYRE_CO_CHECK(check_snapshots_possible());
  if (geometry_.version < 3) co_return Result<void>{};
  BYRE_CO_TRY(const std::vector<format::Snapshot> found, co_await snapshots());
  BYRE_CO_CHECK(check_downgrade(found));
  BYRE_CO_CHECK(co_await begin_exclusive());
  auto done = co_await expand_zeroes(found);
  co_return co_await end_exclusive(co_await with_new_header(std::move(done), [](format::Header& header) {
    header.version = 2;
    header.header_length = format::header_length_version_2;
    header.incompatible_features = header.compatible_features = header.autoclear_features = 0;
    header.compression_type = format::CompressionType::deflate;
    header.unknown_fields.clear();
    header.feature_names.reset();
    header.bitmaps.reset();
  }));
}

// Tables that several L1 tables share have no zeros left when they are met again.
Task<Result<void>> Qcow2Disk::expand_zeroes(const std::vector<format::Snapshot>& snapshots) {
  const bool backed = !header_.backing_name.empty();
  std::vector<std::vector<std::uint64_t>> roots = {metadata_->l1()};
  for (const format::Snapshot& snapshot : snapshots) {
    BYRE_CO_CHECK(check_usable(snapshot, header_, storage_->size_bytes()));
    BYRE_CO_TRY(std::vector<std::uint64_t> l1, co_await read_table(*storage_, snapshot.l1_table, snapshot.l1_entries));
    roots.push_back(std::move(l1));
  }
  bool changed = false;
  for (const std::vector<std::uint64_t>& l1 : roots) {
    TableWalk walk(*storage_, geometry_, l1);
    for (;;) {
      BYRE_CO_CHECK(co_await walk.next());
      if (walk.tables().empty()) break;
      BYRE_CO_TRY(const bool any, co_await expand_zeroes_of_batch(walk, backed));
      changed = changed || any;
    }
  }
  if (changed) BYRE_CO_CHECK(co_await mark_copied());
  co_return Result<void>{};
}

// New clusters, counted once for each reference to their table, and zero; then the entries; then the counts of what
// they referred to. Each durable before the next.
Task<Result<bool>> Qcow2Disk::expand_zeroes_of_batch(TableWalk& walk, bool backed) {
  BYRE_CO_CHECK(co_await reload());
  CountReader counts(*storage_, geometry_, metadata_->refcount_table());
  ZeroExpansion expansion(geometry_, walk, backed);
  BYRE_CO_CHECK(co_await expansion.find(counts));
  if (expansion.empty()) co_return false;
  Undo undo;
  auto done = co_await place_zero_clusters(expansion, undo);
  if (!done) {
    co_await take_back(undo);
    co_return std::unexpected(std::move(done).error());
  }
  expansion.change_entries();
  BYRE_CO_CHECK(co_await walk.store());
  BYRE_CO_CHECK(co_await storage_->flush());
  BYRE_PROBE("data: zero entries are expanded");
  CountSweep sweep(*storage_, geometry_, metadata_->refcount_table());
  const std::vector<ClusterRun> dropped = expansion.take_dropped();
  auto lowered = co_await sweep.apply(dropped, CountChange::lower, nullptr);
  if (lowered) lowered = co_await storage_->flush();
  if (lowered) co_return true;
  counts_doubtful_ = true;
  co_return std::unexpected(std::move(lowered).error());
}

Task<Result<void>> Qcow2Disk::place_zero_clusters(ZeroExpansion& expansion, Undo& undo) {
  if (expansion.new_clusters() == 0) co_return Result<void>{};
  const std::uint64_t length = expansion.new_clusters() << geometry_.cluster_bits;
  BYRE_CO_TRY(const HostOffset at, co_await allocate_region(length, undo));
  BYRE_CO_CHECK(co_await settle());
  BYRE_CO_CHECK(co_await storage_->zero(at.bytes, length, true));
  CountSweep sweep(*storage_, geometry_, metadata_->refcount_table());
  const std::vector<ClusterRun> further = expansion.place(geometry_.cluster_index(at));
  BYRE_CO_CHECK(co_await sweep.check(further, CountChange::raise));
  auto raised = co_await sweep.apply(further, CountChange::raise, nullptr);
  if (raised) raised = co_await storage_->flush();
  if (!raised) counts_doubtful_ = true;
  co_return raised;
}

}  // namespace byre
