// Another refcount width and another version, in place (docs/format.md section 19).
//
// Width (O-23): a complete new structure beside the old one, then one write into the first sector of the header, which
// names table and width together. Version 3 to 2 (O-24): no entry may say zero any more. In the tables of the active
// disk and of every snapshot such an entry becomes empty or, where a backing file would show, a new cluster of zeros;
// then a new header. Version 2 to 3: snapshot entries get the extra data that version 3 wants, then a new header.

#include <algorithm>
#include <unordered_set>

#include "base/endian.h"
#include "base/probe.h"
#include "base/text.h"
#include "data/exclusive.h"
#include "data/header_rewrite.h"
#include "data/qcow2_disk.h"
#include "data/range.h"
#include "data/refcount_width.h"
#include "data/snapshot_tables.h"
#include "data/zero_expansion.h"

namespace byre {
namespace {

void make_version_3(format::Header& header) {
  header.version = 3;
  header.header_length = format::default_header_length_version_3;
  header.feature_names = format::default_feature_names(3, header.cluster_bits);
}

void make_version_2(format::Header& header) {
  header.version = 2;
  header.header_length = format::header_length_version_2;
  header.incompatible_features = header.compatible_features = header.autoclear_features = 0;
  header.refcount_order = 4;
  header.compression_type = format::CompressionType::deflate;
  header.unknown_fields.clear();
  header.feature_names.reset();
  header.bitmaps.reset();
}

void remove_seen(std::vector<std::uint64_t>& l1, std::unordered_set<std::uint64_t>& seen) {
  for (std::uint64_t& entry : l1) {
    if (entry != 0 && !seen.insert(entry & format::entry_offset_mask).second) entry = 0;
  }
}

// Only old writers leave out what version 3 wants.
bool is_short(const format::Snapshot& snapshot) { return snapshot.extra_data_bytes < 16; }

}  // namespace

Task<Result<void>> Qcow2Disk::set_refcount_order(unsigned order) {
  if (order == geometry_.refcount_order) co_return Result<void>{};
  if (geometry_.version < 3) {
    co_return fail(ErrorCode::unsupported, "refcounts of {} bits need version 3 (compat=1.1)", 1u << order);
  }
  BYRE_CO_CHECK(co_await check_sound());
  Task<Result<void>> work = do_set_refcount_order(order);
  co_return co_await exclusively(std::move(work));
}

Task<Result<void>> Qcow2Disk::do_set_refcount_order(unsigned order) {
  const std::uint64_t file_size = storage_->size_bytes();
  bool published = false;
  auto done = co_await replace_refcounts(order, published);
  if (!done && published) counts_doubtful_ = true;
  if (!done && !published) {
    [[maybe_unused]] const auto cut = co_await storage_->resize(file_size);
  }
  co_return done;
}

Task<Result<void>> Qcow2Disk::replace_refcounts(unsigned order, bool& published) {
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

// Without old snapshot entries it is one sector and no count, so counts are not held against all references first; only
// what would mean something else afterwards is looked for.
Task<Result<void>> Qcow2Disk::upgrade(bool counts_follow) {
  if (geometry_.version >= 3) co_return Result<void>{};
  BYRE_CO_CHECK(check_changeable());
  BYRE_CO_TRY(const std::vector<format::Snapshot> found, co_await snapshots());
  const bool rewrites = std::ranges::any_of(found, is_short);
  if (rewrites || counts_follow) BYRE_CO_CHECK(co_await check_sound());
  BYRE_CO_CHECK(co_await settle());
  BYRE_CO_CHECK(
      co_await each_tree(found, [this](const std::vector<std::uint64_t>& l1) { return check_no_zero_flags(l1); }));
  Task<Result<void>> work = do_upgrade(rewrites);
  co_return co_await exclusively(std::move(work));
}

// An entry with the flag is damage in version 2, and would be a zero cluster in version 3 (H-30).
Task<Result<void>> Qcow2Disk::check_no_zero_flags(const std::vector<std::uint64_t>& l1) {
  TableWalk walk(*storage_, geometry_, l1, TableWalk::small_batch_bytes);
  for (;;) {
    BYRE_CO_CHECK(co_await walk.next());
    if (walk.tables().empty()) co_return Result<void>{};
    for (const TableWalk::Table& table : walk.tables()) {
      if (!format::any_zero_flag(table.bytes)) continue;
      co_return fail(ErrorCode::corrupt,
                     "the L2 table at {:#x} has entries with a flag that version 2 does not know: "
                     "run `byre check` first",
                     table.at.bytes);
    }
  }
}

Task<Result<void>> Qcow2Disk::do_upgrade(bool rewrites_snapshot_table) {
  if (rewrites_snapshot_table) {
    BYRE_CO_CHECK(co_await rewrite_snapshot_table());
    BYRE_CO_CHECK(co_await reload());
  }
  co_return co_await change_header(make_version_3);
}

// Entries are written with all extra data that is known.
Task<Result<void>> Qcow2Disk::rewrite_snapshot_table() {
  BYRE_CO_TRY(SnapshotTables tables, co_await snapshot_tables());
  BYRE_CO_CHECK(co_await replace_snapshot_table(tables));
  TreeCounts old(*storage_, geometry_, tree({}, tables.old_clusters(geometry_, header_)));
  [[maybe_unused]] const auto lowered = co_await lower_counts(old);
  co_return Result<void>{};
}

Result<void> Qcow2Disk::check_downgrade(const std::vector<format::Snapshot>& snapshots,
                                        std::uint64_t size_bytes) const {
  const std::uint64_t others = header_.incompatible_features & ~format::incompatible::dirty;
  if (others != 0) {
    return fail(ErrorCode::unsupported, "version 2 (compat=0.10) cannot have the incompatible features {:#x}", others);
  }
  return format::check_snapshots_fit_version_2(snapshots, size_bytes_, size_bytes);
}

Task<Result<void>> Qcow2Disk::check_amend(unsigned version, std::uint64_t size_bytes) {
  BYRE_CO_CHECK(check_changeable());
  const bool either_is_3 = version >= 3 || geometry_.version >= 3;  // the size changes while it is
  if (size_bytes != size_bytes_) BYRE_CO_CHECK(check_resize(size_bytes, either_is_3 ? 3 : 2));
  if ((version >= 3) == (geometry_.version >= 3)) co_return Result<void>{};
  if (version < 3) {
    BYRE_CO_TRY(const std::vector<format::Snapshot> found, co_await snapshots());
    BYRE_CO_CHECK(check_downgrade(found, size_bytes));
  }
  BYRE_CO_TRY(const format::Header now, co_await read_header(*storage_, format::HeaderUse::write));
  format::Header next = now;
  (version < 3 ? make_version_2 : make_version_3)(next);
  co_return co_await check_header_replacement(*storage_, now, std::move(next));
}

Task<Result<void>> Qcow2Disk::downgrade() {
  if (geometry_.version < 3) co_return Result<void>{};
  if (geometry_.refcount_bits() != 16) {
    co_return fail(ErrorCode::unsupported,
                   "version 2 (compat=0.10) has refcounts of 16 bits, this image of {}: change the width first",
                   geometry_.refcount_bits());
  }
  BYRE_CO_CHECK(co_await check_sound());
  Task<Result<void>> work = do_downgrade();
  co_return co_await exclusively(std::move(work));
}

Task<Result<void>> Qcow2Disk::do_downgrade() {
  BYRE_CO_TRY(const std::vector<format::Snapshot> found, co_await snapshots());
  BYRE_CO_CHECK(check_downgrade(found, size_bytes_));
  BYRE_CO_CHECK(co_await expand_zeroes(found));
  BYRE_CO_CHECK(co_await reload());
  co_return co_await change_header(make_version_2);
}

// Tables that several L1 tables share have no zeros left when they are met again: each is looked at once.
Task<Result<void>> Qcow2Disk::expand_zeroes(const std::vector<format::Snapshot>& snapshots) {
  bool changed = false;
  BYRE_CO_CHECK(co_await each_tree(
      snapshots, [this, &changed](const std::vector<std::uint64_t>& l1) { return expand_zeroes_below(l1, changed); }));
  if (changed) BYRE_CO_CHECK(co_await mark_copied());
  co_return Result<void>{};
}

// The L1 tables of the active disk and of each snapshot, one after the other, without the entries of L2 tables that an
// earlier one has.
Task<Result<void>> Qcow2Disk::each_tree(const std::vector<format::Snapshot>& snapshots, TreeVisit visit) {
  std::unordered_set<std::uint64_t> seen;
  std::vector<std::uint64_t> l1 = metadata_->l1();
  remove_seen(l1, seen);
  BYRE_CO_CHECK(co_await visit(l1));
  for (const format::Snapshot& snapshot : snapshots) {
    BYRE_CO_CHECK(check_usable(snapshot, header_, storage_->size_bytes()));
    BYRE_CO_TRY(l1, co_await read_table(*storage_, snapshot.l1_table, snapshot.l1_entries));
    remove_seen(l1, seen);
    BYRE_CO_CHECK(co_await visit(l1));
  }
  co_return Result<void>{};
}

Task<Result<void>> Qcow2Disk::expand_zeroes_below(const std::vector<std::uint64_t>& l1, bool& changed) {
  TableWalk walk(*storage_, geometry_, l1);
  for (;;) {
    BYRE_CO_CHECK(co_await walk.next());
    if (walk.tables().empty()) co_return Result<void>{};
    BYRE_CO_TRY(const bool any, co_await expand_zeroes_of_batch(walk));
    changed = changed || any;
  }
}

// New clusters, counted once for each reference to their table, and zero; then the entries; then the counts of what
// they referred to. Each durable before the next.
Task<Result<bool>> Qcow2Disk::expand_zeroes_of_batch(TableWalk& walk) {
  CountReader counts(*storage_, geometry_, metadata_->refcount_table());
  ZeroExpansion expansion(geometry_, walk, !header_.backing_name.empty());
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
  if (!lowered) {
    counts_doubtful_ = true;
    co_return std::unexpected(std::move(lowered).error());
  }
  BYRE_CO_CHECK(co_await reload());  // what is in memory is older than the counts
  co_return true;
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
