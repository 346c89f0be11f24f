// Compressed clusters (docs/format.md section 8.3). Pure computation, made to run in worker threads; every function may
// be called from any thread.
#pragma once

#include <cstddef>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "format/header.h"

namespace byre::format {

constexpr int most_level = 9;
int default_compression_level(CompressionType type);

// Compresses one cluster into `target`. Returns the payload's size, or 0 if it does not fit there. Levels are 1, the
// fastest, to 9, the smallest; 0 stands for the type's default. Deflate payloads are raw and keep within the 4 KiB
// window that other readers have. Equal clusters make equal payloads, on any x86-64 processor with SSE 4.2.
std::size_t compress_cluster(CompressionType type, int level, ConstBytes cluster, Bytes target);

// A payload of any cluster, also of one that does not become smaller. Of at most so many bytes, which `target` has; for
// clusters of 512 bytes and more that is less than two clusters.
std::size_t longest_stored_bytes(std::size_t cluster_bytes);
std::size_t store_cluster(CompressionType type, ConstBytes cluster, Bytes target);

// Fills `cluster` completely from `payload`, which may go on behind the end of the stream. Memory is bounded whatever
// the payload says, nothing is written behind `cluster` (H-34). Error: io.
Result<void> decompress_cluster(CompressionType type, ConstBytes payload, Bytes cluster);

}  // namespace byre::format
