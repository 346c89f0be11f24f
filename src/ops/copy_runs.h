// Which parts of a block of content have to be written, and how.
#pragma once

#include <cstdint>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/data/disk.h"
#include "byre/ops/copy.h"
#include "byre/task/sync.h"

namespace byre::ops {

struct CopyRun {
  enum class Kind { data, zero } kind;
  std::size_t offset_bytes;  // from the start of the content
  std::size_t length_bytes;
  friend bool operator==(const CopyRun&, const CopyRun&) = default;
};

struct CopyRunRules {
  std::size_t unit_bytes = 4096;      // runs begin and end at multiples of it, from the start of the content
  std::uint64_t sparse_bytes = 4096;  // shorter runs of zeros next to data are data; 0: nothing is a run of zeros
  bool skip_zeros = true;             // runs of zeros are left out
};

// What a copy into `target` keeps to. In a qcow2 disk the unit is the cluster.
CopyRunRules copy_run_rules(const Disk& target, const CopyOptions& options);

// Cuts the content into maximal runs. With `existing` (same size, or empty) what agrees with it is left out.
std::vector<CopyRun> copy_runs(ConstBytes content, ConstBytes existing, const CopyRunRules& rules);

// Starts the request or, for compressed clusters, the requests that a run needs; the content lies at `offset_bytes` of
// the disk and outlives them.
void start_run(TaskGroup& writes, Disk& target, std::uint64_t offset_bytes, ConstBytes content, const CopyRun& run,
               bool compress);

}  // namespace byre::ops
