// New blocks need counts themselves, which may need blocks, and a longer table: repeated until nothing is missing.

#include "check/count_plan.h"

#include <algorithm>

#include "base/math.h"
#include "base/text.h"
#include "format/limits.h"

namespace byre::check {
namespace {

class Planner {
 public:
  explicit Planner(Checker& checker)
      : checker_(checker), image_(checker.image()), geometry_(image_.geometry), references_(checker.references()) {
    plan_.file_clusters = image_.file_clusters;
    append_only_ = checker.incomplete() || image_.snapshot_table_must_change || image_.bitmaps_must_go;
  }

  Result<CountPlan> run(std::uint64_t snapshot_table_bytes) {
    drop_old_snapshot_table();
    keep_blocks();
    keep_table();
    plan_.snapshot_table_at = take(geometry_.clusters_for(snapshot_table_bytes));
    for (;;) {
      BYRE_CHECK(add_blocks());
      const std::uint64_t entries = plan_.table.size();
      if (entries <= capacity_) break;
      BYRE_CHECK(move_table(entries));
    }
    plan_.table.resize(capacity_);
    return std::move(plan_);
  }

 private:
  void leave(HostOffset at, std::uint64_t length_bytes) {
    const std::uint64_t first = geometry_.cluster_index(at);
    for (std::uint64_t i = 0; i < geometry_.clusters_for(length_bytes); ++i) {
      references_.remove(first + i);
      left_.insert(first + i);
    }
  }

  void drop_old_snapshot_table() {
    if (!image_.snapshot_table_must_change) return;
    for (const Region& region : image_.regions) {
      if (region.owner == Owner::snapshot_table) leave(region.at, region.length_bytes);
    }
  }

  void keep_blocks() {
    plan_.table.assign(image_.refcount_table.size(), 0);
    for (const BlockUse& block : checker_.blocks()) {
      if (checker_.sound(block)) {
        plan_.kept.push_back(block);
        plan_.table[block.table_index] = block.cluster << geometry_.cluster_bits;
      } else {
        unsound_.push_back(block);
      }
    }
    for (const BlockUse& block : unsound_) {
      references_.remove(block.cluster);
      left_.insert(block.cluster);
    }
  }

  void keep_table() {
    plan_.table_at = image_.header.refcount_table;
    if (!image_.refcount_table_usable) return;
    const std::uint64_t first = geometry_.cluster_index(plan_.table_at);
    const std::uint64_t clusters = image_.header.refcount_table_clusters;
    bool alone = true;
    for (std::uint64_t i = 0; i < clusters; ++i) alone = alone && references_.count(first + i) == 1;
    if (alone) {
      capacity_ = image_.refcount_table.size();
    } else {
      leave_table();
    }
  }

  void leave_table() {
    if (!image_.refcount_table_usable || table_left_) return;
    leave(image_.header.refcount_table, image_.refcount_table.size() * 8);
    table_left_ = true;
  }

  std::uint64_t capacity_to_clusters(std::uint64_t entries) const {
    return ceil_div(entries, geometry_.refcount_table_entries_per_cluster());
  }

  // Gives every range with references a block. plan_.table grows as needed.
  Result<void> add_blocks() {
    for (auto cluster = references_.next_referenced(0); cluster;) {
      const std::uint64_t index = geometry_.refcount_table_index(*cluster);
      if (index >= format::max_refcount_table_entries) {
        return fail(ErrorCode::no_space, "counting host cluster {} needs more than the {} entries of a refcount table",
                    *cluster, format::max_refcount_table_entries);
      }
      if (index >= plan_.table.size()) plan_.table.resize(index + 1, 0);
      if (plan_.table[index] == 0) {
        const HostOffset at = take(1);
        plan_.table[index] = at.bytes;
        plan_.added.push_back({index, geometry_.cluster_index(at)});
        // The block itself may lie in a range that was passed already.
        const std::uint64_t own = geometry_.refcount_table_index(at);
        cluster = references_.next_referenced(std::min(own, index) << geometry_.refcount_block_bits());
      } else {
        cluster = references_.next_referenced((index + 1) << geometry_.refcount_block_bits());
      }
    }
    return {};
  }

  // Room for what is there and half as much again, and for what the table itself may add.
  Result<void> move_table(std::uint64_t entries) {
    if (plan_.table_moves) {
      const std::uint64_t first = geometry_.cluster_index(plan_.table_at);
      for (std::uint64_t i = 0; i < capacity_to_clusters(capacity_); ++i) references_.remove(first + i);
    } else {
      leave_table();
    }
    const std::uint64_t clusters = capacity_to_clusters(entries + entries / 2 + 1);
    const std::uint64_t limit = format::max_refcount_table_bytes >> geometry_.cluster_bits;
    if (capacity_to_clusters(entries) > limit) {
      return fail(ErrorCode::no_space, "the refcount table would need {} entries, above the format's limit of {}",
                  entries, format::max_refcount_table_entries);
    }
    plan_.table_moves = true;
    const std::uint64_t taken = std::min(clusters, limit);
    plan_.table_at = take(taken);
    capacity_ = taken * geometry_.refcount_table_entries_per_cluster();
    return {};
  }

  // Consecutive clusters that nothing refers to, now counted once; 0 for none.
  HostOffset take(std::uint64_t clusters) {
    if (clusters == 0) return {};
    const std::uint64_t first = append_only_ ? plan_.file_clusters : find_free(clusters);
    for (std::uint64_t i = 0; i < clusters; ++i) {
      references_.add(first + i, 1, Claim::none);
      if (first + i < image_.file_clusters) plan_.reused.push_back(first + i);
    }
    plan_.file_clusters = std::max(plan_.file_clusters, first + clusters);
    return geometry_.host_cluster(first);
  }

  // The first gap that is long enough, else behind the end of the file.
  std::uint64_t find_free(std::uint64_t clusters) {
    std::uint64_t begin = clusters == 1 ? cursor_ : 1;
    for (;;) {
      begin = references_.next_unreferenced(begin);
      if (begin >= image_.file_clusters) break;
      const auto left = left_.lower_bound(begin);
      std::uint64_t end = references_.next_referenced(begin).value_or(image_.file_clusters);
      if (left != left_.end()) end = std::min(end, *left);
      if (std::min(end, image_.file_clusters) - begin >= clusters) {
        if (clusters == 1) cursor_ = begin + 1;
        return begin;
      }
      begin = end + 1;
    }
    if (clusters == 1) cursor_ = image_.file_clusters;
    return plan_.file_clusters;
  }

  Checker& checker_;
  const Image& image_;
  const format::Geometry& geometry_;
  ReferenceMap& references_;
  CountPlan plan_;
  std::uint64_t capacity_ = 0;  // entries of the table as it will be
  std::vector<BlockUse> unsound_;
  std::set<std::uint64_t> left_;  // what the old structure still uses until the switch
  std::uint64_t cursor_ = 1;
  bool table_left_ = false;
  bool append_only_ = false;
};

}  // namespace

Result<CountPlan> plan_counts(Checker& checker, std::uint64_t snapshot_table_bytes) {
  return Planner(checker).run(snapshot_table_bytes);
}

}  // namespace byre::check
