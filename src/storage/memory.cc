// Chunks of 16 KiB in an ordered map; what has no chunk is zero. Bytes of a chunk behind the size are kept zero, so
// that growing again shows zeros.

#include "byre/storage/memory.h"

#include <algorithm>
#include <cstring>

#include "base/math.h"
#include "base/text.h"
#include "storage/checks.h"

namespace byre {
namespace {
constexpr std::uint64_t chunk_bytes = 16 * 1024;

// Calls function(chunk index, offset in the chunk, length) for each chunk that the range touches.
template <class Function>
void for_each_chunk(std::uint64_t offset_bytes, std::uint64_t length_bytes, Function function) {
  while (length_bytes > 0) {
    const std::uint64_t inside = offset_bytes % chunk_bytes;
    const std::uint64_t count = std::min(length_bytes, chunk_bytes - inside);
    function(offset_bytes / chunk_bytes, static_cast<std::size_t>(inside), static_cast<std::size_t>(count));
    offset_bytes += count;
    length_bytes -= count;
  }
}
}  // namespace

MemoryStorage::MemoryStorage(std::uint64_t size_bytes, std::string name)
    : size_bytes_(size_bytes), name_(std::move(name)) {}

MemoryStorage::MemoryStorage(ConstBytes content, std::string name)
    : size_bytes_(content.size()), name_(std::move(name)) {
  copy_in(0, content);
}

Result<void> MemoryStorage::check_change(std::uint64_t offset_bytes, std::uint64_t length_bytes) const {
  return check_storage_change(*this, offset_bytes, length_bytes);
}

void MemoryStorage::copy_in(std::uint64_t offset_bytes, ConstBytes bytes) {
  const std::byte* from = bytes.data();
  for_each_chunk(offset_bytes, bytes.size(), [&](std::uint64_t index, std::size_t inside, std::size_t count) {
    Buffer& chunk = chunks_[index];
    if (chunk.empty()) {
      chunk = Buffer(chunk_bytes);
      std::memset(chunk.data(), 0, inside);
      std::memset(chunk.data() + inside + count, 0, chunk_bytes - inside - count);
    }
    std::memcpy(chunk.data() + inside, from, count);
    from += count;
  });
}

// Goes over the chunks that exist, not over the range: that may be terabytes.
void MemoryStorage::clear(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  const std::uint64_t end = offset_bytes + length_bytes;
  auto at = chunks_.lower_bound(offset_bytes / chunk_bytes);
  while (at != chunks_.end() && at->first * chunk_bytes < end) {
    const std::uint64_t chunk_begin = at->first * chunk_bytes;
    const std::uint64_t begin = std::max(offset_bytes, chunk_begin) - chunk_begin;
    const std::uint64_t stop = std::min(end - chunk_begin, chunk_bytes);
    if (stop - begin == chunk_bytes) {
      at = chunks_.erase(at);
    } else {
      std::memset(at->second.data() + begin, 0, stop - begin);
      ++at;
    }
  }
}

Task<Result<std::size_t>> MemoryStorage::read(std::uint64_t offset_bytes, Bytes target) {
  if (offset_bytes >= size_bytes_) co_return std::size_t{0};
  const std::size_t count =
      static_cast<std::size_t>(std::min<std::uint64_t>(target.size(), size_bytes_ - offset_bytes));
  std::byte* to = target.data();
  for_each_chunk(offset_bytes, count, [&](std::uint64_t index, std::size_t inside, std::size_t length) {
    const auto chunk = chunks_.find(index);
    if (chunk == chunks_.end()) {
      std::memset(to, 0, length);
    } else {
      std::memcpy(to, chunk->second.data() + inside, length);
    }
    to += length;
  });
  co_return count;
}

Task<Result<void>> MemoryStorage::write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) {
  BYRE_CO_CHECK(check_change(offset_bytes, total_size(parts)));
  for (ConstBytes part : parts) {
    copy_in(offset_bytes, part);
    offset_bytes += part.size();
    if (!part.empty()) size_bytes_ = std::max(size_bytes_, offset_bytes);
  }
  co_return Result<void>();
}

Task<Result<void>> MemoryStorage::flush() { co_return Result<void>(); }

Task<Result<void>> MemoryStorage::zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool) {
  BYRE_CO_CHECK(check_change(offset_bytes, length_bytes));
  clear(offset_bytes, length_bytes);
  if (length_bytes > 0) size_bytes_ = std::max(size_bytes_, offset_bytes + length_bytes);
  co_return Result<void>();
}

Task<Result<void>> MemoryStorage::punch(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  BYRE_CO_CHECK(check_change(offset_bytes, length_bytes));
  clear(offset_bytes, length_bytes);
  co_return Result<void>();
}

Task<Result<void>> MemoryStorage::allocate(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  BYRE_CO_CHECK(check_change(offset_bytes, length_bytes));
  if (length_bytes > 0) size_bytes_ = std::max(size_bytes_, offset_bytes + length_bytes);
  co_return Result<void>();
}

Task<Result<void>> MemoryStorage::resize(std::uint64_t size_bytes) {
  BYRE_CO_CHECK(check_change(size_bytes, 0));
  if (size_bytes < size_bytes_) clear(size_bytes, size_bytes_ - size_bytes);
  size_bytes_ = size_bytes;
  co_return Result<void>();
}

Task<Result<StorageExtent>> MemoryStorage::extent_at(std::uint64_t offset_bytes) {
  BYRE_CO_CHECK(check_extent_offset(*this, offset_bytes));
  std::uint64_t end = offset_bytes / chunk_bytes * chunk_bytes;
  auto chunk = chunks_.lower_bound(offset_bytes / chunk_bytes);
  const bool data = chunk != chunks_.end() && chunk->first * chunk_bytes <= offset_bytes;
  if (data) {
    for (; chunk != chunks_.end() && chunk->first * chunk_bytes == end; ++chunk) end += chunk_bytes;
  } else {
    end = chunk == chunks_.end() ? size_bytes_ : chunk->first * chunk_bytes;
  }
  const StorageExtent extent{std::min(end, size_bytes_) - offset_bytes, data};
  co_return extent;
}

std::optional<std::uint64_t> MemoryStorage::allocated_bytes() const { return chunks_.size() * chunk_bytes; }

StorageIdentity MemoryStorage::identity() const { return {0, reinterpret_cast<std::uintptr_t>(this)}; }

std::vector<std::byte> MemoryStorage::content() const {
  std::vector<std::byte> bytes(size_bytes_);
  for (const auto& [index, chunk] : chunks_) {
    const std::uint64_t begin = index * chunk_bytes;
    if (begin >= size_bytes_) break;
    std::memcpy(bytes.data() + begin, chunk.data(), std::min(chunk_bytes, size_bytes_ - begin));
  }
  return bytes;
}

}  // namespace byre
