// A stretch of a disk that is shown to others as if it were one.
#pragma once

#include <cstdint>
#include <optional>

#include "byre/base/result.h"
#include "byre/data/disk.h"

namespace byre {

struct DiskPart {
  Disk* disk = nullptr;                     // must outlive its use; others may use it at the same time
  std::uint64_t offset_bytes = 0;           // of the disk, where the part begins
  std::optional<std::uint64_t> size_bytes;  // none: up to the disk's end
  bool read_only = false;                   // also if the disk is not writable

  std::uint64_t size() const { return size_bytes.value_or(disk->size_bytes() - offset_bytes); }
  bool writable() const { return !read_only && disk->writable(); }
  // Errors: invalid_argument (it does not lie in its disk).
  Result<void> check() const;
};

}  // namespace byre
