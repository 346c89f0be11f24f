#include "data/write_only_disk.h"

#include "base/math.h"
#include "base/text.h"
#include "data/range.h"

namespace byre {

Result<void> WriteOnlyDisk::check_clusters(std::uint64_t offset_bytes, std::uint64_t length_bytes) const {
  BYRE_CHECK(check_change(*this, offset_bytes, length_bytes));
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  const bool to_the_end = offset_bytes + length_bytes == size_bytes_;
  if (offset_bytes % cluster_size == 0 && (length_bytes % cluster_size == 0 || to_the_end)) return {};
  return fail_in(storage_.name(), ErrorCode::invalid_argument, "{} bytes at {} are not whole clusters of {} bytes",
                 length_bytes, offset_bytes, cluster_size);
}

std::uint64_t WriteOnlyDisk::clone_unit_bytes() const {
  const std::uint64_t block = storage_.clone_block_bytes();
  return block != 0 && geometry_.cluster_size_bytes() % block == 0 ? geometry_.cluster_size_bytes() : 0;
}

Task<Result<void>> WriteOnlyDisk::flush() { co_return Result<void>{}; }

Error WriteOnlyDisk::unsupported() const {
  return Error(ErrorCode::unsupported, "an image that is being made can only be written").in_file(storage_.name());
}

Task<Result<void>> WriteOnlyDisk::read(std::uint64_t, Bytes) { co_return std::unexpected(unsupported()); }

Task<Result<void>> WriteOnlyDisk::write_zeroes(std::uint64_t, std::uint64_t, ZeroMode) {
  co_return std::unexpected(unsupported());
}

Task<Result<void>> WriteOnlyDisk::discard(std::uint64_t, std::uint64_t) { co_return std::unexpected(unsupported()); }

Task<Result<void>> WriteOnlyDisk::resize(std::uint64_t, Preallocation) { co_return std::unexpected(unsupported()); }

Task<Result<BlockStatus>> WriteOnlyDisk::status(std::uint64_t, std::uint64_t) {
  co_return std::unexpected(unsupported());
}

Task<Result<BlockStatus>> WriteOnlyDisk::layer_status(std::uint64_t, std::uint64_t) {
  co_return std::unexpected(unsupported());
}

}  // namespace byre
