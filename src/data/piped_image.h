// A qcow2 image that comes as a stream, as a disk to be read once, from front to back.
#pragma once

#include <memory>

#include "byre/data/disk.h"
#include "byre/storage/pipe.h"

namespace byre {

// Reads the header and the L1 table and has the pipe keep the L2 tables. Bitmaps and snapshots are not looked at. The
// stream names no directory, so a backing file is opened only where the policy says below which directory (relative
// names then begin there), or left out where it follows none. Errors: unsupported (a snapshot is wanted, or the tables
// do not fit in what is kept), refused (a backing file), those of open_disk().
Task<Result<std::unique_ptr<Disk>>> open_piped_image(std::shared_ptr<PipeReader> pipe, OpenOptions options);

}  // namespace byre
