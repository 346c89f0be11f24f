// A dirty image that is opened for writing is repaired first: its counts may be wrong (docs/format.md section 16).
#pragma once

#include "byre/base/log.h"
#include "byre/base/result.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"

namespace byre {

// Corrects counts and COPIED flags and clears the dirty bit, and tells the log so in one line. Errors: refused (more
// than that is wrong: the bit stays), I/O.
Task<Result<void>> repair_dirty_image(Storage& storage, LogSink log);

}  // namespace byre
