// Copying the content of disks into another image, sparsely and in parallel (docs/format.md C-26).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "byre/base/result.h"
#include "byre/data/disk.h"

namespace byre {

// What the target reads as before the copy.
enum class TargetContent {
  zeros,       // zeros are left out
  unknown,     // zeros are written as zeros where its status does not call it zero; host space is given back
  compared,    // each cluster is compared first, and only what differs is written: for a target with a backing file
  same_below,  // as compared, for a target that is an empty overlay of the source's own backing file: what the
               // source's top layer does not have is skipped unread
};

inline constexpr unsigned most_compression_level = 9;

// Whether clusters share the host space of the source instead of being copied, on file systems that have reflinks. What
// is shared is not read, so that zeros which the source stores stay stored. Compressed clusters, and what does not fill
// whole units of both sides, are copied in any case. For new targets that read as zeros, uncompressed, with zeros left
// out.
enum class Reflink {
  automatic,  // where it can be done and is no slower
  always,     // where it can be done; an error (unsupported) if these files cannot share blocks
  never,
};

struct CopyOptions {
  unsigned parallel_requests = 16;     // requests of 512 KiB to 2 MiB in flight, at least 1
  std::uint64_t sparse_bytes = 4096;   // runs of zeros at least this long count as zeros; 0: all is stored as data
  bool compress = false;               // with write_compressed(), in the order of offsets
  int compression_level = 0;           // 1, the fastest, to 9, the smallest; 0: the compression type's default
  std::uint64_t bytes_per_second = 0;  // read at most so many; 0: as fast as it goes
  bool out_of_order = false;           // writes need not start in the order of offsets
  Reflink reflink = Reflink::automatic;
  TargetContent target_content = TargetContent::zeros;
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress;  // may be empty
  const std::atomic<bool>* cancel = nullptr;  // ends the copy (cancelled) when it becomes true
};

// The size of the concatenation: each source counts in whole sectors of 512 bytes.
std::uint64_t copy_size_bytes(const std::vector<Disk*>& sources);

// Copies the sources, one behind the other, to the start of `target`; what lies behind stays as it is. Reads nothing
// that the sources' status calls zero. In a qcow2 target the unit is the cluster: it is left out if it is all zeros,
// else written whole. Neither flushes nor closes. Errors: invalid_argument if the target is too small (before anything
// is written), cancelled, and those of the disks.
Task<Result<void>> copy_disks(std::vector<Disk*> sources, Disk& target, CopyOptions options);

}  // namespace byre
