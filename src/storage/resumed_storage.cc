// A write reads what is there and writes the blocks that differ. Ranges that were written are remembered; in the end
// the others are made zeros. If they become many, those between the first ones are made zeros earlier, which holds
// memory down: a later write there finds zeros where it could have found what it brings, no more. A range has a lock,
// since such a write may come while the zeros are being made.
//
// Blocks of zeros are always written: what reads as zeros may be a hole, and the writer meant it to have space.
//
// Leaves out: reads of neighbouring writes are not joined; what is compared was mostly read ahead by the system.

#include "storage/resumed_storage.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/math.h"
#include "storage/checks.h"

namespace byre {
namespace {

constexpr std::uint64_t block_bytes = 4096;  // what is compared, and written if any of it differs
constexpr std::uint64_t most_compared_bytes = 1 << 20;
constexpr std::uint64_t first_bytes = 512;  // holds what makes any image one

bool is_there(ConstBytes wanted, ConstBytes existing) {
  return wanted.size() == existing.size() && std::memcmp(wanted.data(), existing.data(), wanted.size()) == 0 &&
         !is_all_zero(wanted);
}

}  // namespace

void ResumedStorage::note(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  settled_.add(offset_bytes, offset_bytes + length_bytes);
  size_bytes_ = std::max(size_bytes_, offset_bytes + length_bytes);
}

Task<Result<void>> ResumedStorage::begin() {
  co_return co_await lender().zero(0, std::min(lender().size_bytes(), first_bytes), false);
}

Task<Result<void>> ResumedStorage::finish() {
  BYRE_CO_CHECK(co_await settle(size_bytes_));
  if (lender().size_bytes() == size_bytes_) co_return Result<void>();
  co_return co_await lender().resize(size_bytes_);
}

Task<Result<std::size_t>> ResumedStorage::read(std::uint64_t offset_bytes, Bytes target) {
  if (offset_bytes >= size_bytes_) co_return std::size_t{0};
  target = target.first(static_cast<std::size_t>(std::min<std::uint64_t>(target.size(), size_bytes_ - offset_bytes)));
  for (std::size_t done = 0; done < target.size();) {
    const std::uint64_t at = offset_bytes + done;
    const RangeSet::Stretch stretch = settled_.at(at);
    const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(target.size() - done, stretch.end_bytes - at));
    const Bytes part = target.subspan(done, length);
    if (stretch.inside) {
      BYRE_CO_CHECK(co_await read_zero_filled(lender(), at, part));
    } else {
      std::ranges::fill(part, std::byte{0});
    }
    done += length;
  }
  co_return target.size();
}

// Blocks are those of the file, so that what is written is aligned as well as what is asked for.
Task<Result<void>> ResumedStorage::write_differences(std::uint64_t offset_bytes, ConstBytes wanted,
                                                     ConstBytes existing) {
  std::size_t begin = 0;  // of what differs and was not written yet
  for (std::size_t at = 0; at < wanted.size();) {
    const auto length = static_cast<std::size_t>(
        std::min<std::uint64_t>(wanted.size() - at, block_bytes - (offset_bytes + at) % block_bytes));
    const std::size_t known = std::min(existing.size(), at + length) - std::min(existing.size(), at);
    const bool there = is_there(wanted.subspan(at, length), existing.subspan(std::min(existing.size(), at), known));
    if (there && begin < at) {
      const ConstBytes run = wanted.subspan(begin, at - begin);
      BYRE_CO_CHECK(co_await write_bytes(lender(), offset_bytes + begin, run));
    }
    at += length;
    if (there) begin = at;
  }
  if (begin == wanted.size()) co_return Result<void>();
  const ConstBytes run = wanted.subspan(begin);
  co_return co_await write_bytes(lender(), offset_bytes + begin, run);
}

Task<Result<void>> ResumedStorage::write_part(std::uint64_t offset_bytes, ConstBytes part) {
  Buffer existing(static_cast<std::size_t>(std::min<std::uint64_t>(part.size(), most_compared_bytes)));
  while (!part.empty()) {
    const ConstBytes wanted = part.first(std::min(part.size(), existing.size()));
    const Bytes target = existing.bytes().first(wanted.size());
    BYRE_CO_TRY(const std::size_t count, co_await lender().read(offset_bytes, target));
    const ConstBytes found = target.first(count);
    BYRE_CO_CHECK(co_await write_differences(offset_bytes, wanted, found));
    offset_bytes += wanted.size();
    part = part.subspan(wanted.size());
  }
  co_return Result<void>();
}

Task<Result<void>> ResumedStorage::write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) {
  const std::uint64_t length_bytes = total_size(parts);
  BYRE_CO_CHECK(check_storage_change(*this, offset_bytes, length_bytes));
  if (length_bytes == 0) co_return Result<void>();
  {
    const RangeLock::Guard guard = co_await locks_.lock(offset_bytes, offset_bytes + length_bytes);
    std::uint64_t at = offset_bytes;
    for (const ConstBytes part : parts) {
      BYRE_CO_CHECK(co_await write_part(at, part));
      at += part.size();
    }
    note(offset_bytes, length_bytes);
  }
  co_return co_await settle_some();
}

Task<Result<void>> ResumedStorage::zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) {
  BYRE_CO_CHECK(check_storage_change(*this, offset_bytes, length_bytes));
  if (length_bytes == 0) co_return Result<void>();
  {
    const RangeLock::Guard guard = co_await locks_.lock(offset_bytes, offset_bytes + length_bytes);
    BYRE_CO_CHECK(co_await lender().zero(offset_bytes, length_bytes, may_unmap));
    note(offset_bytes, length_bytes);
  }
  co_return co_await settle_some();
}

Task<Result<void>> ResumedStorage::clone(std::uint64_t offset_bytes, Storage& source, std::uint64_t source_offset_bytes,
                                         std::uint64_t length_bytes) {
  BYRE_CO_CHECK(check_storage_change(*this, offset_bytes, length_bytes));
  if (length_bytes == 0) co_return Result<void>();
  {
    const RangeLock::Guard guard = co_await locks_.lock(offset_bytes, offset_bytes + length_bytes);
    BYRE_CO_CHECK(co_await lender().clone(offset_bytes, source, source_offset_bytes, length_bytes));
    note(offset_bytes, length_bytes);
  }
  co_return co_await settle_some();
}

// What the lender holds there is kept: it may be what is wanted.
Task<Result<void>> ResumedStorage::allocate(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  BYRE_CO_CHECK(co_await lender().allocate(offset_bytes, length_bytes));
  keeps_space_ = true;
  if (length_bytes > 0) size_bytes_ = std::max(size_bytes_, offset_bytes + length_bytes);
  co_return Result<void>();
}

Task<Result<void>> ResumedStorage::extend(std::uint64_t size_bytes) {
  BYRE_CO_CHECK(co_await lender().extend(size_bytes));
  size_bytes_ = std::max(size_bytes_, size_bytes);
  co_return Result<void>();
}

// The lender is made longer at once, where that can fail, and shorter in the end.
Task<Result<void>> ResumedStorage::resize(std::uint64_t size_bytes) {
  BYRE_CO_CHECK(co_await lender().extend(size_bytes));
  settled_.cut(size_bytes);
  size_bytes_ = size_bytes;
  co_return Result<void>();
}

Task<Result<StorageExtent>> ResumedStorage::extent_at(std::uint64_t offset_bytes) {
  BYRE_CO_CHECK(check_extent_offset(*this, offset_bytes));
  const RangeSet::Stretch stretch = settled_.at(offset_bytes);
  StorageExtent extent{size_bytes_ - offset_bytes, false};
  if (stretch.inside && offset_bytes < lender().size_bytes()) {
    BYRE_CO_TRY(extent, co_await lender().extent_at(offset_bytes));
  }
  extent.length_bytes = std::min(extent.length_bytes, stretch.end_bytes - offset_bytes);
  co_return extent;
}

Task<Result<void>> ResumedStorage::settle_some() {
  if (settling_ || settled_.count() <= most_ranges_) co_return Result<void>();
  settling_ = true;
  const Result<void> settled = co_await settle(settled_.middle_bytes());
  settling_ = false;
  co_return settled;
}

Task<Result<void>> ResumedStorage::settle(std::uint64_t end_bytes) {
  for (std::uint64_t at = 0; at < end_bytes;) {
    const RangeSet::Stretch stretch = settled_.at(at);
    const std::uint64_t end = std::min(stretch.end_bytes, end_bytes);
    if (!stretch.inside) BYRE_CO_CHECK(co_await settle_gap(at, end));
    at = end;
  }
  co_return Result<void>();
}

// Parts of it may have been written before the lock was free.
Task<Result<void>> ResumedStorage::settle_gap(std::uint64_t begin_bytes, std::uint64_t end_bytes) {
  const RangeLock::Guard guard = co_await locks_.lock(begin_bytes, end_bytes);
  for (std::uint64_t at = begin_bytes; at < end_bytes;) {
    const RangeSet::Stretch stretch = settled_.at(at);
    const std::uint64_t end = std::min(stretch.end_bytes, end_bytes);
    if (!stretch.inside) BYRE_CO_CHECK(co_await wipe(at, end));
    at = end;
  }
  settled_.add(begin_bytes, end_bytes);
  co_return Result<void>();
}

Task<Result<void>> ResumedStorage::wipe(std::uint64_t begin_bytes, std::uint64_t end_bytes) {
  end_bytes = std::min(end_bytes, lender().size_bytes());
  while (begin_bytes < end_bytes) {
    BYRE_CO_TRY(const StorageExtent extent, co_await lender().extent_at(begin_bytes));
    const std::uint64_t length = std::min(extent.length_bytes, end_bytes - begin_bytes);
    if (extent.data) BYRE_CO_CHECK(co_await wipe_data(begin_bytes, length));
    begin_bytes += length;
  }
  co_return Result<void>();
}

// A short one is mostly the rest of a cluster, and zero already.
Task<Result<void>> ResumedStorage::wipe_data(std::uint64_t begin_bytes, std::uint64_t length_bytes) {
  if (length_bytes < block_bytes) {
    Buffer buffer(static_cast<std::size_t>(length_bytes));
    const Bytes target = buffer.bytes();
    BYRE_CO_CHECK(co_await read_zero_filled(lender(), begin_bytes, target));
    if (is_all_zero(target)) co_return Result<void>();
  }
  co_return co_await lender().zero(begin_bytes, length_bytes, !keeps_space_);
}

}  // namespace byre
