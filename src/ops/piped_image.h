// New images that are written as a stream: header and tables first, then the data in the order of the guest.
#pragma once

#include <vector>

#include "byre/data/disk.h"
#include "byre/ops/copy.h"
#include "byre/ops/create.h"

namespace byre::ops {

// Looks at the sources twice: for the tables, and for the data. `copy` is as for copy_disks(), but that order, target
// and sharing are not chosen. Uncompressed, and with `search` false, their status alone says what is stored: a cluster
// is if it has any data, whatever that is. Else they are read twice, and compressed twice. Ends flushed. Errors: io
// (what the second look finds is not what the tables say), those of copy_disks(), of the sources and of `target`.
Task<Result<void>> write_piped_image(std::vector<Disk*> sources, Storage& target, CreateOptions create,
                                     CopyOptions copy, bool search);

}  // namespace byre::ops
