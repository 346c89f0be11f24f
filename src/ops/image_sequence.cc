// A read or status call is passed to the disk that covers its first byte; padding and what lies behind the end are
// answered here.
#include "ops/image_sequence.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/math.h"
#include "format/limits.h"

namespace byre::ops {

namespace {

using format::sector_bytes;

BlockStatus zeros(std::uint64_t length_bytes) {
  BlockStatus status;
  status.length_bytes = length_bytes;
  status.zero = true;
  return status;
}

}  // namespace

ImageSequence::ImageSequence(const std::vector<Disk*>& disks) {
  std::uint64_t begin = 0;
  for (Disk* disk : disks) {
    const std::uint64_t end = begin + round_up(disk->size_bytes(), sector_bytes);
    parts_.push_back({disk, begin, end});
    begin = end;
  }
}

const ImageSequence::Part* ImageSequence::part_at(std::uint64_t offset_bytes) const {
  const auto found = std::ranges::find_if(parts_, [&](const Part& part) { return offset_bytes < part.end; });
  return found == parts_.end() ? nullptr : &*found;
}

Task<Result<void>> ImageSequence::read(std::uint64_t offset_bytes, Bytes target) {
  while (!target.empty()) {
    const Part* part = part_at(offset_bytes);
    const std::uint64_t until = part ? part->end - offset_bytes : target.size();
    const std::size_t length = std::min<std::uint64_t>(until, target.size());
    std::size_t stored = 0;
    if (part && offset_bytes - part->begin < part->disk->size_bytes()) {
      const std::uint64_t inside = offset_bytes - part->begin;
      stored = std::min<std::uint64_t>(length, part->disk->size_bytes() - inside);
      const Bytes head = target.first(stored);
      BYRE_CO_CHECK(co_await part->disk->read(inside, head));
    }
    if (length > stored) std::memset(target.data() + stored, 0, length - stored);
    target = target.subspan(length);
    offset_bytes += length;
  }
  co_return Result<void>();
}

Task<Result<BlockStatus>> ImageSequence::status(std::uint64_t offset_bytes, bool top_only) {
  const Part* part = part_at(offset_bytes);
  if (!part) co_return zeros(std::numeric_limits<std::uint64_t>::max() - offset_bytes);
  const std::uint64_t inside = offset_bytes - part->begin;
  const std::uint64_t size = part->disk->size_bytes();
  if (inside >= size) co_return zeros(part->end - offset_bytes);
  if (top_only) co_return co_await part->disk->layer_status(inside, size - inside);
  co_return co_await part->disk->status(inside, size - inside);
}

Disk& ImageSequence::layer(std::uint64_t offset_bytes, unsigned depth) const {
  Disk* disk = part_at(offset_bytes)->disk;
  for (; depth > 0; --depth) disk = disk->backing();
  return *disk;
}

std::vector<Disk*> ImageSequence::layers() const {
  std::vector<Disk*> result;
  for (const Part& part : parts_) {
    for (Disk* disk = part.disk; disk != nullptr; disk = disk->backing()) result.push_back(disk);
  }
  return result;
}

std::vector<std::uint64_t> ImageSequence::begins() const {
  std::vector<std::uint64_t> result;
  for (const Part& part : parts_) result.push_back(part.begin);
  return result;
}

Task<Result<BlockStatus>> StatusCursor::at(std::uint64_t offset_bytes) {
  if (offset_bytes < begin_ || offset_bytes - begin_ >= stretch_.length_bytes) {
    BYRE_CO_TRY(stretch_, co_await images_.status(offset_bytes, top_only_));
    BYRE_ASSERT(stretch_.length_bytes > 0);
    begin_ = offset_bytes;
  }
  BlockStatus rest = stretch_;
  rest.length_bytes -= offset_bytes - begin_;
  if (rest.host_offset_bytes) *rest.host_offset_bytes += offset_bytes - begin_;
  co_return rest;
}

}  // namespace byre::ops
