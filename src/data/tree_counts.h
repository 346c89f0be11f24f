// The counts of everything that an L1 table leads to, raised or lowered by one reference, as taking, applying and
// deleting a snapshot do (docs/format.md section 14.3); and COPIED, which says of a cluster that its count is 1.
#pragma once

#include <cstdint>
#include <vector>

#include "byre/base/result.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "data/count_sweep.h"
#include "format/geometry.h"

namespace byre {

// All of it works past the page cache, on an image that stands still.
class TreeCounts {
 public:
  // `l1` and `refcount_table` are in host byte order. `others` are references that change along with the tree.
  struct Parts {
    std::vector<std::uint64_t> l1;
    std::vector<std::uint64_t> refcount_table;
    std::vector<ClusterRun> others;
  };
  TreeCounts(Storage& storage, const format::Geometry& geometry, Parts parts)
      : storage_(storage),
        geometry_(geometry),
        parts_(std::move(parts)),
        sweep_(storage, geometry, parts_.refcount_table) {}
  TreeCounts(const TreeCounts&) = delete;
  TreeCounts& operator=(const TreeCounts&) = delete;

  // As CountSweep has them. The clusters that apply() frees are found in freed().
  Task<Result<void>> check(CountChange change);
  Task<Result<void>> apply(CountChange change);
  bool whole() const { return sweep_.whole(); }
  std::vector<ClusterRun> take_freed() { return freed_.take_sorted(); }

 private:
  enum class Step { check, apply };
  Task<Result<void>> every_window(CountChange change, Step step);
  Task<Result<void>> collect(std::uint64_t begin, std::uint64_t end, ClusterRuns& runs);

  Storage& storage_;
  const format::Geometry geometry_;
  const Parts parts_;
  CountSweep sweep_;
  ClusterRuns freed_;
};

// Takes COPIED off every entry of the L2 tables that `l1` leads to. Tables that have none are not written. Not synced.
Task<Result<void>> clear_copied(Storage& storage, const format::Geometry& geometry,
                                const std::vector<std::uint64_t>& l1);

// Makes COPIED of the active tables say what the counts on the disk say; `l1` is changed along with the L2 tables, but
// not written. Not synced. The counts must be durable (O-14).
Task<Result<void>> set_copied(Storage& storage, const format::Geometry& geometry,
                              const std::vector<std::uint64_t>& refcount_table, std::vector<std::uint64_t>& l1);

}  // namespace byre
