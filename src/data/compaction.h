// Makes an image file smaller in place (docs/decisions/0013-compact.md): what lies at the end of the file moves into
// free clusters in front, until there are none, and the file is cut. It works past the page cache, on an image that
// stands still, whose counts are exact.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "byre/base/result.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "data/cluster_mover.h"
#include "data/compact_roots.h"
#include "data/host_map.h"
#include "data/table_walk.h"
#include "format/header.h"

namespace byre {

struct CompactionOptions {
  bool zeroes = false;  // read all data, and keep none for clusters of zeros
  bool backed = false;  // the image has a backing file, which shows where an entry is empty
  bool punch = true;    // free clusters
  const std::atomic<bool>* cancel = nullptr;
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress;
};

struct CompactionCounts {
  std::uint64_t moved_bytes = 0;    // of data, payloads and tables
  std::uint64_t dropped_bytes = 0;  // of clusters that read as zeros, and tables that say nothing
};

class Compaction {
 public:
  Compaction(Storage& storage, const format::Header& header, std::vector<std::uint64_t> refcount_table,
             CompactionOptions options);
  Compaction(const Compaction&) = delete;
  Compaction& operator=(const Compaction&) = delete;

  // Between two batches it ends with cancelled when that is asked for. What has been done stays: the file is cut as far
  // as it can be, also after an error. Errors: I/O, no_space, corrupt, cancelled.
  Task<Result<void>> run();
  const CompactionCounts& counts() const { return counts_; }
  // Otherwise clusters may be counted that nothing refers to.
  bool exact() const { return mover_.exact(); }

 private:
  struct Range {
    std::uint64_t first, end;  // clusters
    bool has(std::uint64_t cluster) const { return cluster >= first && cluster < end; }
  };
  struct Found;
  struct Moves;

  // Dropping (compact_thin.cc).
  Task<Result<void>> thin();
  Task<Result<void>> thin_tables(const CompactRoots& all, TableWalk& walk);
  Task<Result<void>> drop_zeros(const CompactRoots& all, TableWalk& walk, MoveBatch& batch);
  Task<Result<void>> look_for_data(std::span<const std::uint64_t> clusters);
  void drop_entry(const CompactRoots& all, TableWalk& walk, const TableWalk::Table& table, std::uint64_t index,
                  MoveBatch& batch);
  bool can_say_zero() const;
  bool says_nothing(const TableWalk& walk, const TableWalk::Table& table) const;

  // Moving.
  Task<Result<void>> work();
  Task<Result<bool>> move_down();
  Task<Result<void>> prepare_smaller_parts(Error error);
  Task<Result<void>> move_range(Range range, std::uint64_t below);
  Task<Result<Found>> find(const CompactRoots& roots, Range range);
  void take_places(Moves& moves, std::uint64_t below);
  void add_move(MoveBatch& batch, const Moves& moves, std::size_t index) const;
  Task<Result<void>> move_clusters(const Moves& moves);
  Task<Result<void>> move_blocks(const Moves& moves);
  Task<Result<void>> move_payloads(std::vector<Pointer> pointers, std::uint64_t below);
  Task<Result<void>> move_regions(const std::vector<Region>& regions);
  Task<Result<void>> make_room(Range range);
  Task<Result<bool>> evacuate(const std::vector<Region>& regions, std::uint64_t count, std::uint64_t below);
  Task<Result<bool>> drop_blocks();
  Task<Result<void>> perform(MoveBatch batch, std::function<void()> relinked = {});
  void give_back_freed();
  Task<Result<void>> cut();

  Task<Result<CompactRoots>> roots();
  Result<void> check_cancelled() const;
  std::uint64_t batch_clusters() const;
  void show_progress() const;

  Storage& storage_;
  const format::Geometry geometry_;
  std::vector<std::uint64_t> refcount_table_;
  HostOffset table_at_;
  const CompactionOptions options_;
  ClusterMover mover_;
  HostMap map_;
  std::uint64_t batch_bytes_ = 32 << 20;
  std::map<std::uint64_t, ClusterRun> room_;  // taken for tables, by the first cluster that they have now
  std::vector<ClusterRun> freed_;             // and for others only once all that moves has its place
  CompactionCounts counts_;
  std::vector<bool> holds_data_;  // by cluster, where zeros are looked for: it has been read
  std::uint64_t read_bytes_ = 0;
  std::uint64_t total_bytes_ = 0;
};

}  // namespace byre
