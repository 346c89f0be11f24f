#include "storage/null_storage.h"

#include <algorithm>
#include <cstring>

#include "base/math.h"
#include "base/text.h"
#include "byre/task/pause.h"
#include "storage/checks.h"

namespace byre {
namespace {
constexpr int filler = 0xa5;  // what reads find where zeros are not promised
}

Task<Result<void>> NullStorage::pass_time() const {
  if (options_.latency.count() > 0) {
    co_await pause_for(std::chrono::ceil<std::chrono::microseconds>(options_.latency));
  }
  co_return Result<void>();
}

Task<Result<std::size_t>> NullStorage::read(std::uint64_t offset_bytes, Bytes target) {
  BYRE_CO_CHECK(co_await pass_time());
  if (offset_bytes >= size_bytes()) co_return std::size_t{0};
  const std::size_t count = std::min<std::uint64_t>(target.size(), size_bytes() - offset_bytes);
  std::memset(target.data(), options_.read_zeroes ? 0 : filler, count);
  co_return count;
}

Task<Result<void>> NullStorage::change(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  BYRE_CO_CHECK(check_storage_change(*this, offset_bytes, length_bytes));
  if (!fits_within(offset_bytes, length_bytes, size_bytes())) {
    co_return fail_in(name(), ErrorCode::no_space, "{} bytes at {} end behind its {} bytes", length_bytes, offset_bytes,
                      size_bytes());
  }
  co_return co_await pass_time();
}

Task<Result<void>> NullStorage::write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) {
  return change(offset_bytes, total_size(parts));
}

Task<Result<void>> NullStorage::zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool) {
  return change(offset_bytes, length_bytes);
}

Task<Result<void>> NullStorage::flush() { return pass_time(); }

Task<Result<void>> NullStorage::resize(std::uint64_t size) {
  if (size == size_bytes()) co_return Result<void>();
  co_return fail_in(name(), ErrorCode::unsupported, "it has {} bytes, and cannot be made {} bytes long", size_bytes(),
                    size);
}

Task<Result<StorageExtent>> NullStorage::extent_at(std::uint64_t offset_bytes) {
  BYRE_CO_CHECK(check_extent_offset(*this, offset_bytes));
  const StorageExtent extent{size_bytes() - offset_bytes, !options_.read_zeroes};
  co_return extent;
}

}  // namespace byre
