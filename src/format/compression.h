// Compressed clusters (docs/format.md section 8.3). Pure computation, made to run in worker threads; every function may
// be called from any thread.
#pragma once

#include <cstddef>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "format/header.h"

namespace byre::format {

// Compresses one cluster into `target`. Returns the payload's size, or 0 if it does not fit there. Deflate payloads are
// raw and keep within the 4 KiB window that other readers have.
std::size_t compress_cluster(CompressionType type, ConstBytes cluster, Bytes target);

// Fills `cluster` completely from `payload`, which may go on behind the end of the stream. Memory is bounded whatever
// the payload says, nothing is written behind `cluster` (H-34). Error: io.
Result<void> decompress_cluster(CompressionType type, ConstBytes payload, Bytes cluster);

}  // namespace byre::format
