// The check that every request begins with.
#pragma once

#include "base/math.h"
#include "base/text.h"
#include "byre/data/disk.h"

namespace byre {

inline Result<void> check_range(const Disk& disk, std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  if (fits_within(offset_bytes, length_bytes, disk.size_bytes())) [[likely]]
    return {};
  return fail(ErrorCode::invalid_argument, "the range of {} bytes at {} does not lie inside the disk of {} bytes",
              length_bytes, offset_bytes, disk.size_bytes());
}

inline Result<void> check_change(const Disk& disk, std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  if (!disk.writable()) return fail(ErrorCode::refused, "the disk was opened read-only");
  return check_range(disk, offset_bytes, length_bytes);
}

}  // namespace byre
