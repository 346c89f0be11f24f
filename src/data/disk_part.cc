#include "byre/data/disk_part.h"

#include "base/text.h"

namespace byre {

Result<void> DiskPart::check() const {
  const std::uint64_t disk_bytes = disk->size_bytes();
  if (offset_bytes <= disk_bytes && size_bytes.value_or(0) <= disk_bytes - offset_bytes) return {};
  return fail(ErrorCode::invalid_argument, "{} bytes at {} do not lie in the disk, which has {} bytes",
              size_bytes.value_or(0), offset_bytes, disk_bytes);
}

}  // namespace byre
