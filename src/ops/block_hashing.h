// Blocks of disks on their way into trees of digests: looked at, read and hashed, several stretches at once.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "byre/ops/checksum.h"
#include "byre/task/sync.h"
#include "ops/buffer_pool.h"
#include "ops/digest_tree.h"
#include "ops/image_sequence.h"

namespace byre::ops {

struct BlockRange {
  std::uint64_t first;
  std::uint64_t end;
};

class BlockHashing {
 public:
  // Of several disks, each with a tree, called by their numbers. Scheme and disks must outlive it.
  BlockHashing(const DigestScheme& scheme, const std::vector<Disk*>& disks, const ChecksumOptions& options);

  // Adds these blocks of a disk to the trees of all `receivers`, which have the same there. Each tree gets its blocks
  // in rising order; what is left out are zeros. Returns before all is read, and does nothing once reading has failed.
  // Errors: cancelled, those of the disk's status.
  Task<Result<void>> add(std::size_t disk, BlockRange range, std::vector<std::size_t> receivers);

  // Waits for what was begun, also after an error, and must be called before the end. The checksums of the disks.
  // Errors: the first one of reading.
  Task<Result<std::vector<Checksum>>> finish();

  std::uint64_t longest_bytes() const;  // of the disks
  // Errors: cancelled.
  Result<void> check_cancelled() const;

 private:
  struct Source {
    Source(const DigestScheme& scheme, Disk* disk) : image({disk}), tree(scheme) {}
    ImageSequence image;
    StatusCursor status{image};
    DigestTree tree;
  };
  // Blocks of one stretch: those from `first` on, as far as their status does not call them zeros.
  struct Run {
    Source* source = nullptr;
    std::uint64_t first = 0;
    std::vector<bool> stored;
    std::vector<std::size_t> receivers;
  };

  Task<Result<std::uint64_t>> zero_blocks(Source& source, BlockRange range);
  Task<void> start(Run run);
  Task<Result<void>> hash_run(Run run, std::uint64_t ticket);
  Task<Result<void>> read_and_hash(const Run& run, std::vector<std::byte>& digests);
  Task<Result<void>> read_run(const Run& run, Bytes buffer);
  void hash_blocks(const Run& run, ConstBytes blocks, std::vector<std::byte>& digests) const;
  void report_progress(std::uint64_t block);

  const DigestScheme& scheme_;
  const ChecksumOptions& options_;
  std::size_t parallel_;
  std::deque<Source> sources_;
  BufferPool buffers_;
  Turnstile order_;
  TaskGroup group_;
  std::uint64_t reported_bytes_ = 0;
};

}  // namespace byre::ops
