#include "data/raw_disk.h"

#include <algorithm>

#include "data/range.h"

namespace byre {
namespace {
constexpr std::uint64_t zero_piece_bytes = std::uint64_t{2} << 20;
}

RawDisk::RawDisk(std::unique_ptr<Storage> storage, Options options)
    : storage_(std::move(storage)), size_bytes_(round_up(storage_->size_bytes(), 512)), options_(options) {}

Task<Result<void>> RawDisk::read(std::uint64_t offset_bytes, Bytes target) {
  BYRE_CO_CHECK(check_range(*this, offset_bytes, target.size()));
  co_return co_await read_zero_filled(*storage_, offset_bytes, target);
}

Task<Result<void>> RawDisk::write(std::uint64_t offset_bytes, ConstBytes data) {
  BYRE_CO_CHECK(check_change(*this, offset_bytes, data.size()));
  if (options_.detect_zeroes != DetectZeroes::off && is_all_zero(data)) {
    const bool may_unmap = options_.detect_zeroes == DetectZeroes::unmap && options_.discard;
    co_return co_await storage_->zero(offset_bytes, data.size(), may_unmap);
  }
  co_return co_await write_bytes(*storage_, offset_bytes, data);
}

Task<Result<void>> RawDisk::write_zeroes(std::uint64_t offset_bytes, std::uint64_t length_bytes, ZeroMode mode) {
  BYRE_CO_CHECK(check_change(*this, offset_bytes, length_bytes));
  co_return co_await storage_->zero(offset_bytes, length_bytes, mode == ZeroMode::unmap && options_.discard);
}

Task<Result<void>> RawDisk::discard(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  BYRE_CO_CHECK(check_change(*this, offset_bytes, length_bytes));
  if (!options_.discard) co_return Result<void>{};
  const std::uint64_t end = std::min(offset_bytes + length_bytes, storage_->size_bytes());
  if (end <= offset_bytes) co_return Result<void>{};
  co_return co_await storage_->punch(offset_bytes, end - offset_bytes);
}

Task<Result<void>> RawDisk::write_compressed(std::uint64_t, ConstBytes) {
  co_return fail(ErrorCode::unsupported, "{}: a raw disk cannot hold compressed data", storage_->name());
}

Task<Result<void>> RawDisk::clone(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                  std::span<const ClonePiece> pieces) {
  BYRE_CO_CHECK(check_change(*this, offset_bytes, length_bytes));
  for (const ClonePiece& piece : pieces) {
    BYRE_CO_CHECK(
        co_await storage_->clone(piece.offset_bytes, *piece.source, piece.source_offset_bytes, piece.length_bytes));
  }
  co_return Result<void>{};
}

Task<Result<BlockStatus>> RawDisk::status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) {
  return layer_status(offset_bytes, max_length_bytes);
}

Task<Result<BlockStatus>> RawDisk::layer_status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) {
  BYRE_CO_CHECK(check_range(*this, offset_bytes, 1));
  BlockStatus status;
  status.present = true;
  if (offset_bytes >= storage_->size_bytes()) {
    status.length_bytes = size_bytes_ - offset_bytes;
    status.zero = true;
  } else {
    BYRE_CO_TRY(const StorageExtent extent, co_await storage_->extent_at(offset_bytes));
    status.length_bytes = extent.length_bytes;
    status.zero = !extent.data;
    status.data = extent.data;
  }
  status.length_bytes = std::min({status.length_bytes, max_length_bytes, size_bytes_ - offset_bytes});
  status.host_offset_bytes = offset_bytes;
  co_return status;
}

Task<Result<void>> RawDisk::resize(std::uint64_t size_bytes, Preallocation preallocation) {
  BYRE_CO_CHECK(check_change(*this, 0, 0));
  if (preallocation == Preallocation::metadata) {
    co_return fail(ErrorCode::unsupported, "a raw disk has no metadata to preallocate: off, falloc or full");
  }
  const std::uint64_t old_size = storage_->size_bytes();
  if (preallocation != Preallocation::off && size_bytes < old_size) {
    co_return fail(ErrorCode::invalid_argument, "preallocation is for growing, not for shrinking");
  }
  BYRE_CO_CHECK(co_await storage_->resize(size_bytes));
  size_bytes_ = round_up(size_bytes, 512);
  if (preallocation == Preallocation::off || size_bytes == old_size) co_return Result<void>{};
  co_return co_await extend_with_zeros(*storage_, old_size, size_bytes - old_size, preallocation);
}

Task<Result<void>> extend_with_zeros(Storage& storage, std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                     Preallocation preallocation) {
  if (preallocation != Preallocation::full) {
    const bool may_unmap = preallocation != Preallocation::falloc;
    BYRE_CO_CHECK(co_await storage.zero(offset_bytes, length_bytes, may_unmap));
    if (may_unmap) co_return Result<void>{};
    co_return co_await storage.allocate(offset_bytes, length_bytes);
  }
  const Buffer zeros(std::min<std::uint64_t>(length_bytes, zero_piece_bytes), Buffer::Fill::zero);
  for (std::uint64_t done = 0; done < length_bytes; done += zeros.size()) {
    const ConstBytes piece = zeros.bytes().first(std::min<std::uint64_t>(zeros.size(), length_bytes - done));
    BYRE_CO_CHECK(co_await write_bytes(storage, offset_bytes + done, piece));
  }
  co_return Result<void>{};
}

Task<Result<void>> RawDisk::close() {
  if (!writable()) co_return Result<void>{};
  co_return co_await storage_->flush();
}

}  // namespace byre
