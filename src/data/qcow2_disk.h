// A qcow2 image as a disk: the coroutines of the request path. What is decided lives in meta/; here is what waits.
//
// A read: lease, lookup (load pages that miss, ask again), read the extents from the file, the backing disk or a
// compressed payload. A write in place: lease, write target, one write. A write that allocates: lock the clusters,
// reserve, write data with what surrounds it, commit. A flush: take a cut and write it in its stages.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <unordered_set>
#include <vector>

#include "base/probe.h"
#include "byre/data/disk.h"
#include "byre/task/sync.h"
#include "data/load.h"
#include "data/tree_counts.h"
#include "format/header.h"
#include "meta/metadata.h"

namespace byre {

struct CompactionCounts;
struct CompactionOptions;
class TableWalk;
class ZeroExpansion;

class Qcow2Disk final : public Disk {
 public:
  struct Parts {
    std::shared_ptr<Storage> storage;  // shared with open_state() alone
    std::shared_ptr<Disk> backing;     // null if the image names none, or none is to be followed
    LoadedImage image;
    std::uint64_t cache_size_bytes = 0;  // as LoadOptions has it
    bool writable = false;
    bool discard = true;
    bool pass_discard_request = true;
    bool pass_discard_snapshot = true;
    DetectZeroes detect_zeroes = DetectZeroes::off;
    bool backing_is_absent = false;  // what it would hold reads as zeros
    bool lazy_refcounts = false;     // only with version 3
    bool copy_on_read = false;
    const std::atomic<bool>* cancel = nullptr;
    LogSink log;
  };
  explicit Qcow2Disk(Parts parts);
  ~Qcow2Disk() override;

  std::uint64_t size_bytes() const override { return size_bytes_; }
  Task<Result<void>> read(std::uint64_t offset_bytes, Bytes target) override;
  Task<Result<void>> write(std::uint64_t offset_bytes, ConstBytes data) override;
  Task<Result<void>> write_zeroes(std::uint64_t offset_bytes, std::uint64_t length_bytes, ZeroMode mode) override;
  Task<Result<void>> discard(std::uint64_t offset_bytes, std::uint64_t length_bytes) override;
  Task<Result<void>> write_compressed(std::uint64_t offset_bytes, ConstBytes data) override;
  Task<Result<void>> flush() override;
  Task<Result<void>> resize(std::uint64_t size_bytes, Preallocation preallocation) override;
  Task<Result<BlockStatus>> status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) override;
  Task<Result<BlockStatus>> layer_status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) override;
  Task<Result<void>> close() override;
  std::string_view format() const override { return "qcow2"; }
  bool writable() const override { return writable_; }
  Storage& storage() override { return *storage_; }
  Disk* backing() override { return backing_.get(); }
  std::uint64_t cluster_size_bytes() const override { return geometry_.cluster_size_bytes(); }

  // Internal snapshots (qcow2_snapshots.cc; the contracts are in ops/snapshot.h). No request may be under way.
  Task<Result<std::vector<format::Snapshot>>> snapshots();
  Task<Result<std::string>> create_snapshot(format::Snapshot snapshot);
  Task<Result<void>> apply_snapshot(std::size_t index);
  Task<Result<void>> delete_snapshot(std::size_t index);

  // The state that a snapshot of this image keeps, to be read while this disk is open and changes nothing. It is not
  // closed. Errors: corrupt (its L1 table or size cannot be followed).
  Task<Result<std::unique_ptr<Qcow2Disk>>> open_state(const format::Snapshot& snapshot);
  // From the VM state that lies behind the disk (section 14.2); zeros where the L1 table ends.
  Task<Result<void>> read_vm_state(std::uint64_t offset_bytes, Bytes target);
  // The L1 table grows to hold it. No request may be under way.
  Task<Result<void>> write_vm_state(std::uint64_t offset_bytes, ConstBytes data);

  // Changes fields of the header that concern neither tables nor counts (O-29). No request may be under way.
  Task<Result<void>> change_header(std::function<void(format::Header&)> change);

  // Empties the layer from `begin_bytes` to `end_bytes` (multiples of the cluster size, or the end of the disk): the
  // backing file shows there. No request may be under way. At the end of the disk the VM state goes, and the file is
  // cut.
  Task<Result<void>> forget(std::uint64_t begin_bytes, std::uint64_t end_bytes);

  // Options in place (qcow2_amend.cc). No request may be under way.
  Task<Result<void>> set_refcount_order(unsigned order);
  // To version 3. With `counts_follow` counts are changed next, which is refused for wrong ones: then this is too.
  Task<Result<void>> upgrade(bool counts_follow);
  Task<Result<void>> downgrade();  // to version 2
  // Makes the file smaller (qcow2_compact.cc). No request may be under way.
  Task<Result<CompactionCounts>> compact(CompactionOptions options);
  // Whether the disk can get this size and version, as far as the header and the snapshots tell. Changes nothing.
  Task<Result<void>> check_amend(unsigned version, std::uint64_t size_bytes);

  const format::Header& header() const { return header_; }
  // Of the disk, or of the snapshot that is read; in host byte order.
  const std::vector<std::uint64_t>& l1() const { return metadata_->l1(); }
  // For tests: the state behind the disk.
  meta::Metadata& metadata() { return *metadata_; }

 private:
  struct Stretch;
  struct Filling;
  enum class Touches { data, mapping };                                 // what a change will touch
  static constexpr std::uint64_t header_lock = std::uint64_t{1} << 63;  // in range_lock_, behind every disk

  // Pages (qcow2_pages.cc).
  Task<Result<void>> resolve(meta::Stop stop);
  Task<Result<void>> load_pages(meta::PageRequest request);
  Task<Result<void>> read_pages(HostOffset at, meta::PageKind kind, std::uint64_t count);
  template <class Decide>
  auto decide(Decide function) -> Task<Result<typename decltype(function())::value_type>>;

  // Reading (qcow2_read.cc, qcow2_copy_up.cc).
  Task<Result<void>> read_as_it_is(std::uint64_t offset_bytes, Bytes target);
  Task<Result<void>> copy_up(std::uint64_t offset_bytes, std::uint64_t length_bytes);
  Task<Result<void>> copy_up_clusters(GuestOffset first, std::uint64_t clusters);
  Task<Result<void>> read_extent(meta::MappedExtent extent, Bytes target);
  Task<Result<void>> read_zeros(Bytes target);
  Task<Result<void>> read_host(HostOffset at, Bytes target);
  Result<void> check_backing_open(std::uint64_t offset_bytes) const;
  Task<Result<void>> read_backing(GuestOffset at, Bytes target);
  Task<Result<void>> read_compressed(meta::MappedExtent extent, Bytes target);

  // Writing (qcow2_write.cc).
  Task<Result<void>> prepare_change(Touches touches = Touches::mapping);
  Task<Result<void>> write_as_it_is(std::uint64_t offset_bytes, ConstBytes data);
  Task<Result<std::uint64_t>> write_allocating(GuestOffset at, ConstBytes data);
  Task<Result<std::uint64_t>> length_to_allocate(GuestOffset at, std::uint64_t max_length_bytes);
  Task<Result<void>> write_reserved(const meta::Reservation& reservation, GuestOffset at, ConstBytes data);
  Task<Result<void>> write_stretch(Stretch stretch, GuestOffset at, ConstBytes data);
  Task<Result<void>> write_payload(GuestOffset at, ConstBytes payload, ConstBytes data);
  Task<Result<Filling>> filling(GuestOffset from, GuestOffset to, bool fresh);

  // Zeroing and discarding (qcow2_clear.cc).
  Task<Result<void>> clear_clusters(GuestOffset first, std::uint64_t clusters, meta::Clear mode);
  Task<Result<void>> zero_part(GuestOffset at, std::uint64_t length_bytes, meta::Clear mode);
  Task<Result<void>> write_zero_data(GuestOffset at, std::uint64_t length_bytes);

  // The header's marks, and the file's length with lazy refcounts (qcow2_marks.cc).
  bool marks_due(bool dirty) const;
  Task<Result<void>> mark_header(bool dirty);
  Task<Result<void>> store_marks(bool incompatible, bool autoclear);
  Task<Result<void>> clear_dirty_mark();
  Task<Result<void>> hold_dirty();
  Task<void> release_dirty();
  Task<void> extend_ahead(HostOffset links_end);
  Task<void> trim_ahead();

  // Resizing (qcow2_resize.cc).
  Task<Result<void>> change_size(std::uint64_t size_bytes, Preallocation preallocation);
  Result<void> check_resize(std::uint64_t size_bytes, unsigned version) const;
  Task<Result<void>> grow(std::uint64_t size_bytes, Preallocation preallocation);
  Task<Result<void>> zero_added(std::uint64_t old_size);
  Task<Result<void>> preallocate(std::uint64_t old_size, Preallocation preallocation);
  Task<Result<void>> shrink(std::uint64_t size_bytes);
  Task<void> take_back_growth(std::uint64_t wanted_bytes);
  Task<Result<void>> cut_behind_end();
  Task<void> cut_file(std::uint64_t end_bytes);
  Task<Result<void>> give_up_behind_end();
  Task<Result<void>> release_tables(std::uint64_t first, std::uint64_t end, bool punch);
  Task<Result<void>> forget_clusters(std::uint64_t begin_bytes, std::uint64_t end_bytes);
  Task<Result<void>> store_size(std::uint64_t size_bytes);

  // Operations that change the file past the cache (qcow2_exclusive.cc).
  struct Undo;
  Task<Result<std::uint64_t>> check_sound();
  Result<void> check_changeable() const;
  Task<Result<void>> begin_exclusive();
  Task<Result<void>> exclusively(Task<Result<void>> work);
  Task<Result<void>> reload();
  Task<Result<HostOffset>> allocate_region(std::uint64_t length_bytes, Undo& undo);
  Task<Result<void>> raise_counts(TreeCounts& counts, Undo& undo);
  Task<Result<void>> lower_counts(TreeCounts& counts);
  Task<void> punch_runs(std::vector<ClusterRun> runs);
  Task<Result<void>> mark_copied();
  Task<Result<void>> write_l1(HostOffset at, const std::vector<std::uint64_t>& entries);
  Task<void> take_back(Undo& undo);
  Task<Result<void>> take_back_steps(Undo& undo);
  std::vector<ClusterRun> clusters_of(HostOffset at, std::uint64_t length_bytes) const;
  TreeCounts::Parts tree(std::vector<std::uint64_t> l1, std::vector<ClusterRun> others = {}) const;

  // Snapshots (qcow2_snapshots.cc, qcow2_snapshot_apply.cc).
  struct SnapshotTables;
  Task<Result<SnapshotTables>> snapshot_tables();
  Task<Result<void>> allocate_snapshot_table(SnapshotTables& tables, Undo& undo);
  Task<Result<void>> switch_snapshot_table(const SnapshotTables& tables, Undo& undo);
  Task<Result<void>> replace_snapshot_table(SnapshotTables& tables);
  Task<Result<void>> do_create(format::Snapshot snapshot, std::string& id);
  Task<Result<void>> create_in_steps(SnapshotTables& tables, TreeCounts& counts, Undo& undo);
  Task<Result<void>> do_delete(std::size_t index);
  Task<Result<void>> do_apply(std::size_t index);
  Task<Result<void>> apply_in_steps(const format::Snapshot& snapshot, std::vector<std::uint64_t> l1, TreeCounts& counts,
                                    Undo& undo);
  Task<Result<void>> drop_vm_state();

  // Amending (qcow2_amend.cc).
  Task<Result<void>> do_set_refcount_order(unsigned order);
  Task<Result<void>> replace_refcounts(unsigned order, bool& published);
  Task<Result<void>> check_no_zero_flags(const std::vector<std::uint64_t>& l1);
  using TreeVisit = std::function<Task<Result<void>>(const std::vector<std::uint64_t>& l1)>;
  Task<Result<void>> each_tree(const std::vector<format::Snapshot>& snapshots, TreeVisit visit);
  Task<Result<void>> do_upgrade(bool rewrites_snapshot_table);
  Task<Result<void>> do_downgrade();
  Task<Result<void>> rewrite_snapshot_table();
  Result<void> check_downgrade(const std::vector<format::Snapshot>& snapshots, std::uint64_t size_bytes) const;
  Task<Result<void>> expand_zeroes(const std::vector<format::Snapshot>& snapshots);
  Task<Result<void>> expand_zeroes_below(const std::vector<std::uint64_t>& l1, bool& changed);
  Task<Result<bool>> expand_zeroes_of_batch(TableWalk& walk);
  Task<Result<void>> place_zero_clusters(ZeroExpansion& expansion, Undo& undo);

  // Compacting (qcow2_compact.cc).
  Result<void> check_compactable() const;
  Task<Result<void>> free_leaks();
  Task<Result<void>> do_compact(CompactionOptions options, CompactionCounts& counts);

  // Write-back (qcow2_flush.cc).
  Task<Result<void>> settle();
  Task<Result<void>> sync();
  Task<Result<void>> end_session();
  Task<Result<void>> write_back();
  Task<Result<void>> write_cut(const meta::Cut& cut);
  Task<Result<void>> write_stage(const std::vector<meta::CutWrite>& writes, AccessEvent event);
  Task<Result<void>> release();
  Task<Result<void>> mark_corrupt(Error error);
  Result<void> check_running() const;

  std::uint64_t disk_clusters() const { return geometry_.clusters_for(size_bytes_); }

  std::shared_ptr<Storage> storage_;
  std::shared_ptr<Disk> backing_;
  std::unique_ptr<meta::Metadata> metadata_;
  format::Header header_;
  format::Geometry geometry_;
  std::uint64_t size_bytes_;
  const std::uint64_t cache_size_bytes_;
  const bool discard_;
  const bool pass_discard_request_;
  const bool pass_discard_snapshot_;
  const DetectZeroes detect_zeroes_;
  const bool backing_is_absent_;
  const bool writable_;
  bool lazy_refcounts_;
  const bool copy_on_read_;
  const std::atomic<bool>* const cancel_;
  LogSink log_;

  Turnstile compressed_order_;  // payloads are placed in the order of their requests: same input, same file
  RangeLock range_lock_;        // guest bytes whose mapping is being changed
  std::set<std::uint64_t> loading_;
  WaitQueue loaded_;

  bool autoclear_done_ = false;
  bool dirty_marked_ = false;     // the dirty bit is durable, by this session
  unsigned dirty_holds_ = 0;      // exclusive operations that run
  unsigned settling_ = 0;         // cuts leave nothing out
  bool counts_doubtful_ = false;  // an exclusive operation failed half-way: the dirty bit stays
  // How far the file was extended ahead of what is used, and how far durably: every fresh cluster below reads as zeros
  // after a crash, or as what was written to it.
  std::uint64_t extended_end_bytes_ = 0;
  std::uint64_t durable_end_bytes_ = 0;
  const std::uint64_t opened_size_bytes_;  // of the file
  bool closed_ = false;
  std::optional<Error> stopped_;  // the image was found damaged: no change any more
  bool write_back_running_ = false;
  std::uint64_t write_backs_begun_ = 0;
  std::uint64_t write_backs_ended_ = 0;
  Result<void> last_write_back_;
  WaitQueue write_back_ended_;
};

// Repeats a decision until it no longer misses pages. One that loses its pages to others again and again holds all.
template <class Decide>
auto Qcow2Disk::decide(Decide function) -> Task<Result<typename decltype(function())::value_type>> {
  constexpr int rounds_before_holding = 32;
  std::optional<meta::PageHold> hold;
  for (int round = 0;; ++round) {
    if (round == rounds_before_holding) {
      BYRE_PROBE("data: a decision holds its pages");
      hold.emplace(metadata_->cache());
    }
    auto outcome = function();
    if (outcome) {
      if constexpr (std::is_void_v<typename decltype(function())::value_type>) {
        co_return Result<void>{};
      } else {
        co_return std::move(*outcome);
      }
    }
    BYRE_CO_CHECK(co_await resolve(std::move(outcome).error()));
  }
}

}  // namespace byre
