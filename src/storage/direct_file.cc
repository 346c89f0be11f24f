// O_DIRECT takes only whole blocks from aligned memory. A request that is not so goes through bounce buffers, and a
// write of part of a block reads that block first. Two such writes may share a block without overlapping, and a write
// of the whole block may come at the same time: so every change takes a lock on the blocks that it touches, and those
// that share one come one after the other. A write that ends inside a block behind the end of the file pads it and
// then cuts the file to its exact size; it locks out everything behind, which it might cut off otherwise.

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "base/math.h"
#include "storage/checks.h"
#include "storage/host_file.h"

namespace byre {
namespace {

constexpr std::size_t bounce_bytes = 128 * 1024;
constexpr std::size_t spare_limit = 16;
constexpr std::uint64_t no_end = std::numeric_limits<std::uint64_t>::max();

}  // namespace

// A bounce buffer on loan.
class DirectFile::Bounce {
 public:
  explicit Bounce(DirectFile& file) : file_(file) {
    if (file.spare_.empty()) {
      buffer_ = Buffer(bounce_bytes);
    } else {
      buffer_ = std::move(file.spare_.back());
      file.spare_.pop_back();
    }
  }
  Bounce(const Bounce&) = delete;
  Bounce& operator=(const Bounce&) = delete;
  ~Bounce() {
    if (file_.spare_.size() < spare_limit) file_.spare_.push_back(std::move(buffer_));
  }
  Bytes bytes() { return buffer_.bytes(); }

 private:
  DirectFile& file_;
  Buffer buffer_;
};

// Takes bytes from a list of parts, in order.
class DirectFile::Gather {
 public:
  explicit Gather(std::span<const ConstBytes> parts) : parts_(parts) {}
  void take(Bytes target) {
    while (!target.empty()) {
      const ConstBytes part = parts_.front().subspan(used_);
      const std::size_t count = std::min(part.size(), target.size());
      if (count > 0) std::memcpy(target.data(), part.data(), count);
      target = target.subspan(count);
      used_ += count;
      if (used_ == parts_.front().size()) {
        parts_ = parts_.subspan(1);
        used_ = 0;
      }
    }
  }

 private:
  std::span<const ConstBytes> parts_;
  std::size_t used_ = 0;
};

bool DirectFile::fits(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) const {
  if (!is_aligned(offset_bytes, alignment_.offset_bytes)) return false;
  return std::ranges::all_of(parts, [&](ConstBytes part) {
    return is_aligned(part.size(), alignment_.offset_bytes) &&
           is_aligned(reinterpret_cast<std::uintptr_t>(part.data()), alignment_.memory_bytes);
  });
}

Task<RangeLock::Guard> DirectFile::lock(std::uint64_t begin_bytes, std::uint64_t end_bytes) {
  const std::uint64_t block = alignment_.offset_bytes;
  const std::uint64_t end_blocks = end_bytes == no_end ? no_end : ceil_div(end_bytes, block);
  co_return co_await locks_.lock(begin_bytes / block, end_blocks);
}

// The write ends inside a block that the file does not have whole.
bool DirectFile::must_pad(std::uint64_t end_bytes) const {
  const std::uint64_t block = alignment_.offset_bytes;
  return !is_aligned(end_bytes, block) && round_up(end_bytes, block) > size_bytes();
}

// The size may change while the lock is waited for, and with it what must be locked.
Task<RangeLock::Guard> DirectFile::lock_for_write(std::uint64_t begin_bytes, std::uint64_t end_bytes) {
  for (;;) {
    const bool to_the_end = must_pad(end_bytes);
    auto guard = co_await lock(begin_bytes, to_the_end ? no_end : end_bytes);
    if (to_the_end || !must_pad(end_bytes)) co_return std::move(guard);
  }
}

Task<Result<std::size_t>> DirectFile::read(std::uint64_t offset_bytes, Bytes target) {
  if (offset_bytes >= size_bytes() || target.empty()) co_return std::size_t{0};
  const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(target.size(), size_bytes() - offset_bytes));
  const std::array<ConstBytes, 1> parts{target};
  if (fits(offset_bytes, parts)) {
    TransferVectors to(target);
    BYRE_CO_TRY(const std::uint64_t missing, co_await read_rest(offset_bytes, to, alignment_.offset_bytes));
    co_return std::min(wanted, static_cast<std::size_t>(target.size() - missing));
  }
  Bounce bounce(*this);
  std::size_t done = 0;
  while (done < wanted) {
    const std::uint64_t at = offset_bytes + done;
    const std::uint64_t begin = round_down(at, alignment_.offset_bytes);
    const std::uint64_t end = round_up(offset_bytes + wanted, alignment_.offset_bytes);
    const Bytes blocks =
        bounce.bytes().first(static_cast<std::size_t>(std::min<std::uint64_t>(end - begin, bounce_bytes)));
    TransferVectors to(blocks);
    BYRE_CO_TRY(const std::uint64_t missing, co_await read_rest(begin, to, alignment_.offset_bytes));
    const auto skipped = static_cast<std::size_t>(at - begin);
    const auto got = static_cast<std::size_t>(blocks.size() - missing);
    if (got <= skipped) break;
    const std::size_t count = std::min(got - skipped, wanted - done);
    std::memcpy(target.data() + done, blocks.data() + skipped, count);
    done += count;
    if (missing > 0) break;
  }
  co_return done;
}

// Reads one block for a change of a part of it. What lies behind the end of the file becomes zeros.
Task<Result<void>> DirectFile::read_block(std::uint64_t offset_bytes, Bytes block) {
  std::size_t count = 0;
  if (offset_bytes < size_bytes()) {
    TransferVectors to(block);
    BYRE_CO_TRY(const std::uint64_t missing, co_await read_rest(offset_bytes, to, alignment_.offset_bytes));
    count = block.size() - static_cast<std::size_t>(missing);
    count = static_cast<std::size_t>(std::min<std::uint64_t>(count, size_bytes() - offset_bytes));
  }
  std::ranges::fill(block.subspan(count), std::byte{0});
  co_return Result<void>();
}

Task<Result<void>> DirectFile::write_bounced(std::uint64_t offset_bytes, std::uint64_t length_bytes, Gather& from) {
  const std::uint32_t block = alignment_.offset_bytes;
  const std::uint64_t end = offset_bytes + length_bytes;
  const std::uint64_t blocks_end = round_up(end, block);
  Bounce bounce(*this);
  for (std::uint64_t at = round_down(offset_bytes, block); at < blocks_end;) {
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(blocks_end - at, bounce_bytes));
    const Bytes blocks = bounce.bytes().first(size);
    const std::uint64_t begin_here = std::max(at, offset_bytes);
    const std::uint64_t end_here = std::min(at + size, end);
    if (begin_here > at) {
      BYRE_CO_CHECK(co_await read_block(at, blocks.first(block)));
    }
    const bool first_block_read = begin_here > at && size == block;
    if (end_here < at + size && !first_block_read) {
      BYRE_CO_CHECK(co_await read_block(at + size - block, blocks.last(block)));
    }
    from.take(
        blocks.subspan(static_cast<std::size_t>(begin_here - at), static_cast<std::size_t>(end_here - begin_here)));
    TransferVectors vectors(blocks);
    BYRE_CO_CHECK(co_await write_rest(at, vectors));
    at += size;
  }
  co_return Result<void>();
}

Task<Result<void>> DirectFile::write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) {
  const std::uint64_t length_bytes = total_size(parts);
  BYRE_CO_CHECK(check_change(offset_bytes, length_bytes));
  if (length_bytes == 0) co_return Result<void>();
  const std::uint64_t end = offset_bytes + length_bytes;
  auto guard = co_await lock_for_write(offset_bytes, end);
  Growth growth(*this, end);
  if (fits(offset_bytes, parts)) {
    TransferVectors from(parts);
    BYRE_CO_CHECK(co_await write_rest(offset_bytes, from));
  } else {
    Gather from(parts);
    BYRE_CO_CHECK(co_await write_bounced(offset_bytes, length_bytes, from));
    if (must_pad(end)) {
      BYRE_CO_CHECK(co_await truncate(std::max(end, size_bytes())));
      BYRE_CO_CHECK(co_await sync_if_durable_at_once());
    }
  }
  growth.done();
  co_return Result<void>();
}

// Whole blocks. The lock ends before zeros are written instead, since write() takes its own.
Task<Result<void>> DirectFile::zero_blocks(std::uint64_t begin_bytes, std::uint64_t end_bytes, bool may_unmap) {
  bool done = false;
  {
    auto guard = co_await lock(begin_bytes, end_bytes > size_bytes() ? no_end : end_bytes);
    BYRE_CO_TRY(done, co_await zero_by_system(begin_bytes, end_bytes - begin_bytes, may_unmap));
  }
  if (!done) co_return co_await write_zeros(begin_bytes, end_bytes - begin_bytes);
  co_return co_await sync_if_durable_at_once();
}

Task<Result<void>> DirectFile::zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) {
  BYRE_CO_CHECK(check_change(offset_bytes, length_bytes));
  const std::uint64_t end = offset_bytes + length_bytes;
  const std::uint64_t blocks_begin = round_up(offset_bytes, alignment_.offset_bytes);
  const std::uint64_t blocks_end = round_down(end, alignment_.offset_bytes);
  if (blocks_begin >= blocks_end) co_return co_await write_zeros(offset_bytes, length_bytes);
  BYRE_CO_CHECK(co_await write_zeros(offset_bytes, blocks_begin - offset_bytes));
  BYRE_CO_CHECK(co_await zero_blocks(blocks_begin, blocks_end, may_unmap));
  co_return co_await write_zeros(blocks_end, end - blocks_end);
}

// Only whole blocks: giving back a part of one saves nothing.
Task<Result<void>> DirectFile::punch(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  BYRE_CO_CHECK(check_storage_change(*this, offset_bytes, length_bytes));
  const std::uint64_t begin = round_up(offset_bytes, alignment_.offset_bytes);
  const std::uint64_t end = round_down(offset_bytes + length_bytes, alignment_.offset_bytes);
  if (begin >= end) co_return Result<void>();
  auto guard = co_await lock(begin, end);
  co_return co_await HostFile::punch(begin, end - begin);
}

// Grows under the lock, so that no padded write cuts the file meanwhile; what follows does not change the size.
Task<Result<void>> DirectFile::allocate(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  BYRE_CO_CHECK(check_change(offset_bytes, length_bytes));
  if (length_bytes > 0 && offset_bytes + length_bytes > size_bytes()) {
    auto guard = co_await lock(offset_bytes, no_end);
    BYRE_CO_CHECK(grow(offset_bytes + length_bytes));
  }
  co_return co_await HostFile::allocate(offset_bytes, length_bytes);
}

Task<Result<void>> DirectFile::clone(std::uint64_t offset_bytes, Storage& source, std::uint64_t source_offset_bytes,
                                     std::uint64_t length_bytes) {
  BYRE_CO_CHECK(check_change(offset_bytes, length_bytes));
  if (length_bytes == 0) co_return Result<void>();
  const std::uint64_t end = offset_bytes + length_bytes;
  auto guard = co_await lock(offset_bytes, end > size_bytes() ? no_end : end);
  co_return co_await HostFile::clone(offset_bytes, source, source_offset_bytes, length_bytes);
}

// A padded write may have cut the file or grown it while the lock was waited for.
Task<Result<void>> DirectFile::extend(std::uint64_t size_bytes) {
  if (size_bytes <= this->size_bytes()) co_return Result<void>();
  auto guard = co_await lock(0, no_end);
  if (size_bytes <= this->size_bytes()) co_return Result<void>();
  co_return co_await HostFile::resize(size_bytes);
}

Task<Result<void>> DirectFile::resize(std::uint64_t size_bytes) {
  auto guard = co_await lock(0, no_end);
  co_return co_await HostFile::resize(size_bytes);
}

}  // namespace byre
