// Making a qcow2 image smaller in place (docs/decisions/0013-compact.md).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "byre/data/disk.h"

namespace byre {

struct CompactOptions {
  bool zeroes = false;  // read all data, and keep none for clusters that hold zeros
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress;  // may be empty
  const std::atomic<bool>* cancel = nullptr;  // ends the operation (cancelled) when it becomes true
};

struct CompactReport {
  std::uint64_t file_size_before_bytes = 0;
  std::uint64_t file_size_after_bytes = 0;
  std::uint64_t moved_bytes = 0;    // of data and tables
  std::uint64_t dropped_bytes = 0;  // of clusters that need not be stored, and of tables that said nothing
};

// Moves what lies at the end of the file into free clusters in front, and cuts the file. The disk and every snapshot
// read the same at every moment; it may be interrupted at any of them, by its caller, a signal or a loss of power, and
// run again, and goes on where it was. Free clusters in the file are used, at most 32 MiB of them at a time, and no
// other space. The disk must be writable and no other request may use it. Errors: unsupported (a raw disk, bitmaps,
// extended L2 entries, an external data file), corrupt, cancelled, no_space, I/O.
Task<Result<CompactReport>> compact_disk(Disk& disk, CompactOptions options);

}  // namespace byre
