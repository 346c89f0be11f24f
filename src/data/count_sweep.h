// Changes the counts of many host clusters on the disk, each refcount block read and written once, in order, many at a
// time; past the page cache, for operations that have the image to themselves.
#pragma once

#include <cstdint>
#include <vector>

#include "byre/base/result.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "data/cluster_runs.h"
#include "format/geometry.h"

namespace byre {

enum class CountChange {
  raise,
  lower,
  claim  // as raise, also from 0: of clusters that were free
};

class CountSweep {
 public:
  // `table` is the refcount table in host byte order.
  CountSweep(Storage& storage, const format::Geometry& geometry, const std::vector<std::uint64_t>& table)
      : storage_(storage), geometry_(geometry), table_(table) {}

  // Whether every count can be changed, by as many as there are references. `runs` are disjoint and rise. Changes
  // nothing. Errors: unsupported (a count would be higher than the refcount width can say), corrupt (a cluster that is
  // referred to is not counted, or not often enough), I/O.
  Task<Result<void>> check(const std::vector<ClusterRun>& runs, CountChange change);

  // Does what check() has approved. Not synced. Clusters whose count is 0 now are added to `freed`. Where it fails,
  // what was changed is put back as far as that works; whole() tells whether it did.
  Task<Result<void>> apply(const std::vector<ClusterRun>& runs, CountChange change, ClusterRuns* freed);
  bool whole() const { return whole_; }

 private:
  struct Piece {
    std::size_t slot;  // of its block in the batch
    std::uint64_t first_in_block, first_cluster, count, references;
  };
  struct Batch;
  Task<Result<void>> load(Batch& batch);
  Result<void> choose(Batch& batch, const std::vector<ClusterRun>& runs);
  Result<void> change_counts(Batch& batch, CountChange change, ClusterRuns* freed);
  Result<void> change_piece(Batch& batch, const Piece& piece, CountChange change, ClusterRuns* freed);
  bool change_wide_piece(std::byte* counts, const Piece& piece, CountChange change) const;
  Result<void> refuse(std::uint64_t cluster, std::uint64_t count, CountChange change) const;
  Task<Result<void>> write(Batch& batch, CountChange change);
  Task<Result<void>> sweep(const std::vector<ClusterRun>& runs, CountChange change, ClusterRuns* freed,
                           std::uint64_t& done_below);

  Storage& storage_;
  const format::Geometry geometry_;
  const std::vector<std::uint64_t>& table_;
  bool whole_ = true;
  bool putting_back_ = false;  // a count of 0 may be raised again
};

}  // namespace byre
