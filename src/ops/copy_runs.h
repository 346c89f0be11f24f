// Which parts of a block of content have to be written, and how.
#pragma once

#include <cstdint>
#include <vector>

#include "byre/base/buffer.h"

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

// Cuts the content into maximal runs. With `existing` (same size, or empty) what agrees with it is left out.
std::vector<CopyRun> copy_runs(ConstBytes content, ConstBytes existing, const CopyRunRules& rules);

}  // namespace byre::ops
