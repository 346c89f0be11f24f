// Copies clusters of several disks into a file that is written from front to back: neighbours are read together,
// several reads are in flight, and places are given in the order in which the clusters were added.
#pragma once

#include <cstdint>
#include <vector>

#include "byre/base/result.h"
#include "byre/ops/copy.h"
#include "byre/task/sync.h"
#include "byre/task/task.h"
#include "data/image_writer.h"
#include "data/mapping_difference.h"
#include "data/qcow2_disk.h"
#include "ops/buffer_pool.h"
#include "ops/clone_finder.h"

namespace byre::ops {

struct ClusterCopy {
  Qcow2Disk* disk;
  GuestRange range;          // at most one cluster of the target; what is missing of it is filled with zeros
  std::uint64_t* word;       // gets the L2 entry without COPIED; stays 0 if all is zeros
  std::uint64_t references;  // to the copy
  bool vm_state;             // the range counts from the start of the disk's VM state
  ClonePiece clone = {};     // where its bytes can be shared, if they can
};

class VariantCopy {
 public:
  // Both must outlive it.
  VariantCopy(ImageWriter& writer, const CopyOptions& options);

  // Waits while too many windows are in flight.
  Task<void> add(ClusterCopy cluster);
  // Until all that was added has been written. Errors: those of reading and writing, and of ImageWriter.
  Task<Result<void>> finish();

 private:
  struct Content;
  using Window = std::vector<ClusterCopy>;

  Task<void> start_window();
  bool goes_on(const ClusterCopy& cluster) const;
  Task<Result<void>> copy_window(Window window, std::uint64_t ticket);
  Task<Result<void>> clone_window(Window window, std::uint64_t ticket);
  Task<Result<void>> clone(const Window& window, const std::vector<Content>& contents);
  Task<Result<void>> load(const Window& window, Bytes content);
  Task<Result<void>> compress(std::vector<Content>& contents);
  Task<Result<void>> compress_one(Content& content);
  Result<void> place(const Window& window, std::vector<Content>& contents);
  Task<Result<void>> write(const std::vector<Content>& contents);

  ImageWriter& writer_;
  const CopyOptions& options_;
  const std::uint64_t cluster_bytes_;
  const std::uint64_t window_bytes_;
  BufferPool buffers_;
  Turnstile turnstile_;
  TaskGroup group_;
  Window window_;  // that is being filled
};

}  // namespace byre::ops
