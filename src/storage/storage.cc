// Shorthands over the interface.

#include "byre/storage/storage.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace byre {

Task<Result<void>> Storage::extend(std::uint64_t size_bytes) {
  if (size_bytes <= this->size_bytes()) co_return Result<void>();
  co_return co_await resize(size_bytes);
}

Task<Result<void>> write_bytes(Storage& storage, std::uint64_t offset_bytes, ConstBytes bytes) {
  const std::array<ConstBytes, 1> parts{bytes};
  const std::span<const ConstBytes> span(parts);
  co_return co_await storage.write(offset_bytes, span);
}

Task<Result<void>> read_exactly(Storage& storage, std::uint64_t offset_bytes, Bytes target) {
  BYRE_CO_TRY(const std::size_t count, co_await storage.read(offset_bytes, target));
  if (count < target.size()) {
    co_return fail(ErrorCode::io, "{}: ends at byte {}, but {} bytes at {} were to be read",
                   escape_untrusted(storage.name(), 4096), offset_bytes + count, target.size(), offset_bytes);
  }
  co_return Result<void>();
}

Task<Result<void>> read_zero_filled(Storage& storage, std::uint64_t offset_bytes, Bytes target) {
  BYRE_CO_TRY(const std::size_t count, co_await storage.read(offset_bytes, target));
  std::ranges::fill(target.subspan(count), std::byte{0});
  co_return Result<void>();
}

}  // namespace byre
