// Which host clusters of an image are used, in memory, for an operation that moves them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "byre/base/result.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "data/cluster_runs.h"
#include "format/geometry.h"

namespace byre {

// Two bits for each cluster that has a count. A cluster whose count has no refcount block is neither used nor free.
class HostMap {
 public:
  // `refcount_table` is in host byte order. Errors: corrupt, I/O.
  Task<Result<void>> load(Storage& storage, const format::Geometry& geometry,
                          const std::vector<std::uint64_t>& refcount_table);

  // Behind the last cluster that is used.
  std::uint64_t end() const { return end_; }
  std::uint64_t used() const { return static_cast<std::uint64_t>(std::ranges::count(used_, true)); }
  bool is_used(std::uint64_t cluster) const { return cluster < used_.size() && used_[cluster]; }

  // The lowest `count` free clusters in a row that end at or before `below`: they are used from now on. None: nothing
  // is changed.
  std::optional<std::uint64_t> take(std::uint64_t count, std::uint64_t below);
  // These ones, if all of them are free and lie before `below`.
  bool take_at(std::uint64_t first, std::uint64_t count, std::uint64_t below);
  void free(std::uint64_t first, std::uint64_t count);

  // The first cluster from which on no more are used than are free before it, and no more than `most`.
  std::uint64_t balance(std::uint64_t most) const;
  // Of the runs of `count` clusters before `below` that have none of `pinned` (sorted), one with the fewest used.
  std::optional<std::uint64_t> sparsest(std::uint64_t count, std::uint64_t below,
                                        const std::vector<ClusterRun>& pinned) const;
  // The free clusters before end().
  std::vector<ClusterRun> holes() const;

 private:
  void add_block(const format::Geometry& geometry, std::uint64_t index, ConstBytes block);
  bool is_free(std::uint64_t cluster) const { return free_[cluster]; }
  void mark(std::uint64_t first, std::uint64_t count, bool used);

  std::vector<bool> used_, free_;
  std::uint64_t end_ = 0;
  // No run of so many free clusters (the index) begins before this.
  std::vector<std::uint64_t> no_run_before_ = std::vector<std::uint64_t>(9, 0);
};

}  // namespace byre
