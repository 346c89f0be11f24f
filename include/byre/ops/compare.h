// Do two disks read the same?
#pragma once

#include <atomic>
#include <cstdint>
#include <expected>
#include <functional>

#include "byre/base/result.h"
#include "byre/data/disk.h"

namespace byre {

struct CompareOptions {
  bool strict = false;             // sizes and block status must agree too
  unsigned parallel_requests = 8;  // batches of reads in flight, at least 1
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress;  // may be empty
  const std::atomic<bool>* cancel = nullptr;  // ends the comparison (cancelled) when it becomes true
};

enum class Difference {
  none,
  size,     // strict only; nothing else was looked at
  status,   // strict only: what one image stores, the other leaves out or stores in another way
  content,  // at `offset_bytes`: the start of the first 512-byte sector that differs
};

struct Comparison {
  Difference difference = Difference::none;
  std::uint64_t offset_bytes = 0;
  // The sizes (rounded up to 512) differ, and the common part does not: the rest of the longer one was looked at too,
  // and makes no difference if it reads as zeros.
  bool only_sizes_differ_so_far = false;
};

struct CompareFailure {
  enum class Step { status, read, other } step;
  Error error;
};

// Whatever comes first in the order of offsets is the outcome, a failure or a difference, however the reads complete.
// Strict mode compares the flags of BlockStatus and whether there is a host offset, not depths and host offsets.
Task<std::expected<Comparison, CompareFailure>> compare_disks(Disk& first, Disk& second, CompareOptions options);

}  // namespace byre
