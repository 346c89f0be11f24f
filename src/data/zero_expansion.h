// What becomes of zero entries where a version without them is wanted (docs/format.md section 19): in one batch of L2
// tables, which entries change, how many new clusters they need and what they give up. It does no I/O but load counts.
#pragma once

#include <cstdint>
#include <vector>

#include "data/cluster_runs.h"
#include "data/count_reader.h"
#include "data/table_walk.h"

namespace byre {

class ZeroExpansion {
 public:
  // With a backing file an empty entry would show it, so each zero entry needs a cluster of zeros.
  ZeroExpansion(const format::Geometry& geometry, TableWalk& walk, bool backed)
      : geometry_(geometry), walk_(walk), backed_(backed) {}

  Task<Result<void>> find(CountReader& counts);
  bool empty() const { return entries_.empty(); }
  std::uint64_t new_clusters() const { return backed_ ? entries_.size() : 0; }

  // The new clusters lie one behind the other from `first` on, each counted once. Returns the references beyond that:
  // a table that is shared counts once for each of its owners.
  std::vector<ClusterRun> place(std::uint64_t first);

  void change_entries();

  // What the entries referred to, as often as it was counted.
  std::vector<ClusterRun> take_dropped();

 private:
  struct Entry {
    std::size_t table;  // of the batch
    std::uint64_t index;
    std::uint64_t owners;       // of the table
    std::uint64_t old_cluster;  // 0: none
    std::uint64_t new_cluster = 0;
  };
  const format::Geometry geometry_;
  TableWalk& walk_;
  const bool backed_;
  std::vector<Entry> entries_;
};

}  // namespace byre
