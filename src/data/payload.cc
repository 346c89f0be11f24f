// The buffer outlives the call to the worker because it belongs to the coroutine.

#include "data/payload.h"

#include <algorithm>

#include "byre/task/event_loop.h"
#include "format/compression.h"

namespace byre {

Task<Payload> compress_in_worker(format::CompressionType type, int level, ConstBytes data,
                                 std::uint64_t cluster_size_bytes) {
  Buffer padded;
  ConstBytes whole = data;
  if (data.size() < cluster_size_bytes) {
    padded = Buffer(cluster_size_bytes, Buffer::Fill::zero);
    std::ranges::copy(data, padded.data());
    whole = padded.bytes();
  }
  Payload payload{Buffer(cluster_size_bytes - 1), 0};
  const Bytes output = payload.buffer.bytes();
  co_await offload([&payload, type, level, whole, output] {
    payload.size_bytes = format::compress_cluster(type, level, whole, output);
  });
  co_return payload;
}

}  // namespace byre
