// The snapshot table of an image that is being checked (docs/format.md section 14.1).
#pragma once

#include "check/image.h"

namespace byre::check {

// Fills image.snapshots and adds the table's region and those of the L1 tables that can be followed. A table that
// cannot be read whole is a check error, or, with Repair::all, cut down to what can be (20.2). Errors: I/O.
Task<Result<void>> read_snapshots(Storage& storage, Repair repair, Image& image, Findings& findings);

}  // namespace byre::check
