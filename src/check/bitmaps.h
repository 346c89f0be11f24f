// The bitmaps of an image that is being checked (docs/format.md section 15).
#pragma once

#include "check/image.h"

namespace byre::check {

// Adds the regions of valid bitmaps. Malformed ones are a check error (20.2), or, with Repair::all, a finding: the
// repair declares all bitmaps stale. Errors: I/O.
Task<Result<void>> read_bitmaps(Storage& storage, Repair repair, Image& image, Findings& findings);

}  // namespace byre::check
