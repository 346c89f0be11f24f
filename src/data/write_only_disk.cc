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

}  // namespace byre
