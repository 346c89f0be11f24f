// Disks laid end to end and read as one, and a cursor over what they store.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "byre/data/disk.h"

namespace byre::ops {

// Each disk is padded with zeros to a whole sector of 512 bytes; behind the last one there are zeros without end.
class ImageSequence {
 public:
  // The disks must outlive the sequence.
  explicit ImageSequence(const std::vector<Disk*>& disks);

  std::uint64_t size_bytes() const { return parts_.empty() ? 0 : parts_.back().end; }
  Task<Result<void>> read(std::uint64_t offset_bytes, Bytes target);
  // The stretch from `offset_bytes` to the end of its disk at most. With `top_only`, of the top layer alone.
  Task<Result<BlockStatus>> status(std::uint64_t offset_bytes, bool top_only = false);
  // The layer that `status` of this offset means by its depth. There is a disk.
  Disk& layer(std::uint64_t offset_bytes, unsigned depth) const;
  // All layers of all disks.
  std::vector<Disk*> layers() const;
  // Where each disk begins.
  std::vector<std::uint64_t> begins() const;

 private:
  struct Part {
    Disk* disk;
    std::uint64_t begin;
    std::uint64_t end;  // of the padding
  };
  const Part* part_at(std::uint64_t offset_bytes) const;

  std::vector<Part> parts_;
};

// Remembers the last stretch, so that looking at it again in smaller steps costs no further status calls.
class StatusCursor {
 public:
  explicit StatusCursor(ImageSequence& images, bool top_only = false) : images_(images), top_only_(top_only) {}
  // The stretch that covers `offset_bytes`, from there on.
  Task<Result<BlockStatus>> at(std::uint64_t offset_bytes);

 private:
  ImageSequence& images_;
  bool top_only_;
  std::uint64_t begin_ = 0;
  BlockStatus stretch_;
};

}  // namespace byre::ops
