// Offsets are moved; what would leave the window is refused before.
#include "storage/window_storage.h"

#include <algorithm>
#include <limits>

#include "base/math.h"
#include "base/text.h"
#include "storage/checks.h"

namespace byre {

std::uint64_t WindowStorage::size_bytes() const {
  if (fixed_size_bytes_) return *fixed_size_bytes_;
  return lender().size_bytes() - std::min(offset_bytes_, lender().size_bytes());
}

Result<void> WindowStorage::check(std::uint64_t offset_bytes, std::uint64_t length_bytes) const {
  BYRE_CHECK(check_storage_change(*this, offset_bytes, length_bytes));
  constexpr std::uint64_t end_of_files = std::numeric_limits<std::int64_t>::max();
  const std::uint64_t limit = fixed_size_bytes_.value_or(end_of_files - offset_bytes_);
  if (fits_within(offset_bytes, length_bytes, limit)) return {};
  return fail_in(name(), ErrorCode::no_space, "{} bytes at {} end behind the {} bytes that are used of it",
                 length_bytes, offset_bytes, limit);
}

Task<Result<std::size_t>> WindowStorage::read(std::uint64_t offset_bytes, Bytes target) {
  if (offset_bytes >= size_bytes()) co_return std::size_t{0};
  const Bytes part = target.first(std::min<std::uint64_t>(target.size(), size_bytes() - offset_bytes));
  co_return co_await lender().read(offset_bytes_ + offset_bytes, part);
}

Task<Result<void>> WindowStorage::write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) {
  BYRE_CO_CHECK(check(offset_bytes, total_size(parts)));
  co_return co_await lender().write(offset_bytes_ + offset_bytes, parts);
}

Task<Result<void>> WindowStorage::zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) {
  BYRE_CO_CHECK(check(offset_bytes, length_bytes));
  co_return co_await lender().zero(offset_bytes_ + offset_bytes, length_bytes, may_unmap);
}

Task<Result<void>> WindowStorage::punch(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  BYRE_CO_CHECK(check(offset_bytes, length_bytes));
  co_return co_await lender().punch(offset_bytes_ + offset_bytes, length_bytes);
}

Task<Result<void>> WindowStorage::allocate(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  BYRE_CO_CHECK(check(offset_bytes, length_bytes));
  co_return co_await lender().allocate(offset_bytes_ + offset_bytes, length_bytes);
}

Task<Result<void>> WindowStorage::resize(std::uint64_t size_bytes) {
  if (!fixed_size_bytes_) {
    BYRE_CO_CHECK(check(size_bytes, 0));
    co_return co_await lender().resize(offset_bytes_ + size_bytes);
  }
  if (size_bytes == *fixed_size_bytes_) co_return Result<void>();
  co_return fail_in(name(), ErrorCode::unsupported, "{} bytes are used of it, which cannot be made {}",
                    *fixed_size_bytes_, size_bytes);
}

Task<Result<void>> WindowStorage::extend(std::uint64_t size_bytes) {
  BYRE_CO_CHECK(check(size_bytes, 0));
  if (fixed_size_bytes_) co_return Result<void>();
  co_return co_await lender().extend(offset_bytes_ + size_bytes);
}

Task<Result<StorageExtent>> WindowStorage::extent_at(std::uint64_t offset_bytes) {
  BYRE_CO_CHECK(check_extent_offset(*this, offset_bytes));
  BYRE_CO_TRY(StorageExtent extent, co_await lender().extent_at(offset_bytes_ + offset_bytes));
  extent.length_bytes = std::min(extent.length_bytes, size_bytes() - offset_bytes);
  co_return extent;
}

}  // namespace byre
