// A cluster compressed in a worker thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "byre/task/task.h"
#include "format/header.h"

namespace byre {

struct Payload {
  Buffer buffer;
  std::size_t size_bytes = 0;

  ConstBytes bytes() const { return buffer.bytes().first(size_bytes); }
};

// What becomes of a cluster that does not become smaller.
enum class Incompressible {
  stays,   // no payload: its size is 0
  stored,  // its payload is larger than the cluster, but less than two of them
};

// `level` as for format::compress_cluster(). `data` is a cluster, or the start of one that is filled up with zeros; the
// caller keeps it meanwhile. Once `cancel` (may be null) is true, nothing more is compressed. Errors: cancelled.
Task<Result<Payload>> compress_in_worker(format::CompressionType type, int level, ConstBytes data,
                                         std::uint64_t cluster_size_bytes, const std::atomic<bool>* cancel,
                                         Incompressible incompressible = Incompressible::stays);

}  // namespace byre
