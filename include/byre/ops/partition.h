// Where the partitions of a disk lie.
#pragma once

#include <cstdint>

#include "byre/data/disk.h"

namespace byre {

struct Partition {
  std::uint64_t offset_bytes = 0;
  std::uint64_t size_bytes = 0;
};

// Number 1, 2, ... of a GPT (sectors of 512 or 4096 bytes) or MBR table, logical partitions from 5 on as everywhere.
// The table is the guest's, and not trusted: it lies in the disk. Errors: not_found (no table, or no such number),
// corrupt (it lies outside of the disk, a chain of logical partitions that does not end), I/O.
Task<Result<Partition>> find_partition(Disk& disk, unsigned number);

}  // namespace byre
