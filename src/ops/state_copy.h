// Copies a qcow2 image with all its internal snapshots into a new image of any cluster size, compressed or not. What
// states of the source share, those of the copy share.
#pragma once

#include "byre/base/result.h"
#include "byre/ops/copy.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "data/qcow2_disk.h"

namespace byre::ops {

// `source` is read-only and nothing changes its file. `target` holds a new, empty image, whose header says what the
// copy will be; it has no backing file: what the source's backing file holds is copied too. Of `options` count:
// requests in flight, sparse_bytes (0: zeros of data clusters are stored), compress, progress, cancel. After a failure
// the target holds no image. Errors: unsupported (the target's refcount width cannot count these states),
// no_space, corrupt, cancelled.
Task<Result<void>> copy_states(Qcow2Disk& source, Storage& target, format::Header header, CopyOptions options);

}  // namespace byre::ops
