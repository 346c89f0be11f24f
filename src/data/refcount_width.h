// Counts of another width: a complete new refcount structure beside the old one (docs/format.md section 19, O-23).
#pragma once

#include <cstdint>
#include <vector>

#include "byre/base/result.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "data/cluster_runs.h"
#include "format/geometry.h"

namespace byre {

struct NewRefcounts {
  HostOffset table;
  std::uint32_t table_clusters = 0;
  std::vector<ClusterRun> old_clusters;  // of the old blocks and table, which nothing counts any more
};

// Writes refcount blocks and a table of the width 2^`order` bits behind the end of the file, with every count as it is,
// the new structure counted and the old one not. Nothing refers to it yet; not synced. `table` is the old refcount
// table at `table_at`. Errors: unsupported (a count does not fit), corrupt, no_space, I/O; the file may be longer then.
Task<Result<NewRefcounts>> write_refcounts(Storage& storage, const format::Geometry& geometry, HostOffset table_at,
                                           const std::vector<std::uint64_t>& table, unsigned order);

}  // namespace byre
