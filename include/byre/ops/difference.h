// Where two states of one image differ: snapshots of it, or a snapshot and the disk as it is now.
//
// The tables tell what both states share, and shared clusters are never read; what lies at different places is read
// from both and compared. So the cost follows what was written between the two states, not the size of the disk.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "byre/base/result.h"
#include "byre/data/disk.h"

namespace byre {

struct DifferentRange {
  std::uint64_t offset_bytes;  // in the guest, a multiple of 512
  std::uint64_t length_bytes;

  friend bool operator==(const DifferentRange&, const DifferentRange&) = default;
};

struct DifferenceOptions {
  // Gets each range, rising, as long as possible.
  std::function<void(DifferentRange range)> found;
  const std::atomic<bool>* cancel = nullptr;  // ends it (cancelled) when it becomes true
};

struct DifferenceTotals {
  std::uint64_t ranges = 0;
  std::uint64_t different_bytes = 0;
  std::uint64_t compared_bytes = 0;  // of the guest, that had to be looked at because they lie at different places
};

// Both disks must be open read-only on one qcow2 image, each with its own OpenOptions::snapshot or none
// (invalid_argument); they are not closed. Of the longer one, what lies behind the end of the other differs where it
// does not read as zeros. VM states are no part of it. Errors: those of reading, corrupt, cancelled.
Task<Result<DifferenceTotals>> find_differences(Disk& first, Disk& second, DifferenceOptions options);

}  // namespace byre
