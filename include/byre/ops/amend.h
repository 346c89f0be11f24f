// Changing the options of a qcow2 image in place (docs/format.md section 19).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "byre/data/disk.h"

namespace byre {

struct AmendOptions {
  std::optional<unsigned> version;        // 2 or 3
  std::optional<unsigned> refcount_bits;  // 1, 2, 4, ... 64; other than 16 only in version 3
  std::optional<bool> lazy_refcounts;     // on only in version 3
  std::optional<std::uint64_t> size_bytes;
  std::optional<std::string> backing_file;    // must be what the image names already: rebase changes it
  std::optional<std::string> backing_format;  // the same
  std::function<void(std::uint64_t done_steps, std::uint64_t total_steps)> progress;  // may be empty
};

// Each change is crash-safe by itself; version 3 images are dirty meanwhile. No other request may use the disk, which
// must be writable. Everything that can be judged beforehand is judged before anything changes. Errors: unsupported (a
// raw disk; what the version cannot have; a count that the width cannot hold), invalid_argument, no_space.
Task<Result<void>> amend_disk(Disk& disk, AmendOptions options);

}  // namespace byre
