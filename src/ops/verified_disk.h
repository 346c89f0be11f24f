// Driver blkverify: an image beside a raw file that must hold the same. Each change goes to both; what is read is
// compared.
#pragma once

#include <memory>

#include "byre/data/disk.h"
#include "ops/node_options.h"

namespace byre::ops {

// "test" is the image, "raw" the file, which has to be as long. A read that finds a difference fails (io), and tells
// where.
Task<Result<std::unique_ptr<Disk>>> open_verified(NodeOptions node, OpenOptions options);

}  // namespace byre::ops
