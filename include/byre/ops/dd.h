// Copying a stretch of a disk (docs/format.md C-27).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>

#include "byre/data/disk.h"
#include "byre/ops/create.h"

namespace byre {

struct StretchCopy {
  std::uint64_t source_offset_bytes = 0;
  std::uint64_t target_offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  bool target_is_zero = false;                                                        // zeros need not be written
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress;  // may be empty
  const std::atomic<bool>* cancel = nullptr;  // ends the copy (cancelled) when it becomes true
};

// Copies the bytes of one disk to a place in another; both stretches must lie inside their disks (invalid_argument).
// What the source's status calls zero is not read. Neither flushes nor closes.
Task<Result<void>> copy_stretch(Disk& source, Disk& target, StretchCopy copy);

// The stretch (target_offset_bytes and target_is_zero do not count) as a qcow2 image that is written into a stream, as
// by ConvertOptions::target_pipe. Flushes.
Task<Result<void>> stretch_to_pipe(Disk& source, Storage& pipe, CreateOptions target, StretchCopy copy);

// Which part of a disk `dd` copies: `count` blocks from the start of the disk bound its end (C-27), `skip` blocks of it
// are left out. Offsets behind the end give a length of 0.
struct DdRange {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
};
DdRange dd_range(std::uint64_t size_bytes, std::uint64_t block_bytes, std::uint64_t skip_blocks,
                 std::optional<std::uint64_t> count_blocks);

}  // namespace byre
