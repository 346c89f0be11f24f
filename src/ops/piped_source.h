// Copying a raw stream whose length shows when it ends.
#pragma once

#include <cstdint>

#include "byre/data/disk.h"
#include "byre/ops/copy.h"
#include "byre/storage/pipe.h"

namespace byre::ops {

// Copies all that comes to the start of `target`, which grows with it (Disk::resize()) and ends as long, in whole
// sectors: a NewImageDisk that is rising, a raw disk, or a PipedRawDisk. A device keeps its size. Of `copy` count all
// but order, target and sharing; what the target content is decides the caller: zeros or unknown. Neither flushes nor
// closes. Errors: cancelled, those of pipe and target.
Task<Result<void>> copy_raw_pipe(PipeReader& pipe, Disk& target, CopyOptions copy);

}  // namespace byre::ops
