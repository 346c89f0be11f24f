// A disk whose changes are dropped at the end: an overlay over it that nobody else can open.
#pragma once

#include <memory>

#include "byre/data/disk.h"

namespace byre::cli {

// In memory: for few changes.
Task<Result<std::unique_ptr<Disk>>> with_changes_in_memory(std::unique_ptr<Disk> disk, OpenOptions options);

// In a file below TMPDIR, else /var/tmp, that has no name once it is open: the host takes it back when the process
// ends, however it ends. Errors: what making a file there gives.
Task<Result<std::unique_ptr<Disk>>> with_changes_in_file(std::unique_ptr<Disk> disk, OpenOptions options);

}  // namespace byre::cli
