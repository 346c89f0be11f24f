#include "storage/checks.h"

#include <limits>

#include "base/math.h"
#include "base/text.h"

namespace byre {

std::uint64_t total_size(std::span<const ConstBytes> parts) {
  std::uint64_t sum = 0;
  for (ConstBytes part : parts) sum += part.size();
  return sum;
}

Result<void> check_storage_change(const Storage& storage, std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  constexpr std::uint64_t limit = std::numeric_limits<std::int64_t>::max();
  if (!storage.writable()) return fail_in(storage.name(), ErrorCode::refused, "opened read-only");
  if (!fits_within(offset_bytes, length_bytes, limit)) {
    return fail_in(storage.name(), ErrorCode::no_space, "{} bytes at {} end behind 2^63 - 1, where files end",
                   length_bytes, offset_bytes);
  }
  return {};
}

Result<void> check_extent_offset(const Storage& storage, std::uint64_t offset_bytes) {
  if (offset_bytes < storage.size_bytes()) return {};
  return fail_in(storage.name(), ErrorCode::invalid_argument, "offset {} is not below the size, {} bytes", offset_bytes,
                 storage.size_bytes());
}

}  // namespace byre
