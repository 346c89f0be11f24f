// What a storage does unless it knows better, and shorthands over the interface.

#include "byre/storage/storage.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/math.h"
#include "base/text.h"
#include "storage/checks.h"

namespace byre {

namespace {
constexpr std::uint64_t zeros_bytes = 64 << 10;
constexpr std::size_t zero_parts = 16;  // in one write
alignas(4096) constinit std::array<std::byte, zeros_bytes> zeros{};
}  // namespace

Task<Result<void>> Storage::zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool) {
  BYRE_CO_CHECK(check_storage_change(*this, offset_bytes, length_bytes));
  const std::uint64_t end = offset_bytes + length_bytes;
  while (offset_bytes < std::min(end, size_bytes())) {
    std::array<ConstBytes, zero_parts> parts;
    std::uint64_t at = offset_bytes;
    std::size_t count = 0;
    for (; count < parts.size() && at < end; at += parts[count++].size()) {
      parts[count] = ConstBytes(zeros).first(static_cast<std::size_t>(std::min(zeros_bytes, end - at)));
    }
    BYRE_CO_CHECK(co_await write(offset_bytes, std::span(parts).first(count)));
    offset_bytes = at;
  }
  if (length_bytes > 0) BYRE_CO_CHECK(co_await extend(end));
  co_return Result<void>();
}

Task<Result<void>> Storage::punch(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  co_return check_storage_change(*this, offset_bytes, length_bytes);
}

Task<Result<void>> Storage::allocate(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  BYRE_CO_CHECK(check_storage_change(*this, offset_bytes, length_bytes));
  if (length_bytes > 0) BYRE_CO_CHECK(co_await extend(offset_bytes + length_bytes));
  co_return Result<void>();
}

Task<Result<StorageExtent>> Storage::extent_at(std::uint64_t offset_bytes) {
  BYRE_CO_CHECK(check_extent_offset(*this, offset_bytes));
  co_return StorageExtent{.length_bytes = size_bytes() - offset_bytes, .data = true};
}

Task<Result<void>> Storage::clone(std::uint64_t, Storage& source, std::uint64_t, std::uint64_t) {
  co_return fail(ErrorCode::unsupported, "{}: cannot share blocks with {}", escape_untrusted(name(), 4096),
                 escape_untrusted(source.name(), 4096));
}

StorageIdentity Storage::identity() const { return {0, reinterpret_cast<std::uintptr_t>(this)}; }

Task<Result<void>> Storage::extend(std::uint64_t size_bytes) {
  if (size_bytes <= this->size_bytes()) co_return Result<void>();
  co_return co_await resize(size_bytes);
}

Task<Result<void>> write_bytes(Storage& storage, std::uint64_t offset_bytes, ConstBytes bytes) {
  const std::array<ConstBytes, 1> parts{bytes};
  const std::span<const ConstBytes> span(parts);
  co_return co_await storage.write(offset_bytes, span);
}

Task<Result<void>> write_filled_up(Storage& storage, std::uint64_t offset_bytes, ConstBytes bytes,
                                   std::uint64_t unit_bytes) {
  const std::vector<std::byte> tail(round_up(bytes.size(), unit_bytes) - bytes.size());
  const ConstBytes parts[] = {bytes, tail};
  const std::span<const ConstBytes> all = parts;
  co_return co_await storage.write(offset_bytes, all);
}

namespace {
Result<void> too_short(const Storage& storage, std::uint64_t offset_bytes, std::size_t wanted, std::size_t got) {
  return fail_in(storage.name(), ErrorCode::io, "ends {} byte {}, but {} bytes at {} were to be read",
                 got == 0 ? "at or before" : "at", offset_bytes + got, wanted, offset_bytes);
}
}  // namespace

Task<Result<void>> read_exactly(Storage& storage, std::uint64_t offset_bytes, Bytes target) {
  BYRE_CO_TRY(const std::size_t count, co_await storage.read(offset_bytes, target));
  if (count < target.size()) co_return too_short(storage, offset_bytes, target.size(), count);
  co_return Result<void>();
}

Task<Result<void>> try_clone(Storage& target, Storage& source) {
  const std::uint64_t block = std::max<std::uint64_t>(target.clone_block_bytes(), 1);
  const std::uint64_t size = target.size_bytes();
  BYRE_CO_CHECK(co_await target.clone(round_up(size, block), source, 0, std::min(block, source.size_bytes())));
  co_return co_await target.resize(size);
}

Task<Result<void>> read_zero_filled(Storage& storage, std::uint64_t offset_bytes, Bytes target) {
  BYRE_CO_TRY(const std::size_t count, co_await storage.read(offset_bytes, target));
  const bool missing = count < target.size() && !storage.zeros_behind_end();
  if (missing) co_return too_short(storage, offset_bytes, target.size(), count);
  std::ranges::fill(target.subspan(count), std::byte{0});
  co_return Result<void>();
}

}  // namespace byre
