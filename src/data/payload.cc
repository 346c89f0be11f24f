// The buffer outlives the call to the worker because it belongs to the coroutine. Many clusters may wait for a worker:
// the flag is looked at when their turn comes.

#include "data/payload.h"

#include <algorithm>

#include "base/text.h"
#include "byre/task/event_loop.h"
#include "format/compression.h"

namespace byre {

Task<Result<Payload>> compress_in_worker(format::CompressionType type, int level, ConstBytes data,
                                         std::uint64_t cluster_size_bytes, const std::atomic<bool>* cancel,
                                         Incompressible incompressible) {
  Buffer padded;
  ConstBytes whole = data;
  if (data.size() < cluster_size_bytes) {
    padded = Buffer(cluster_size_bytes, Buffer::Fill::zero);
    std::ranges::copy(data, padded.data());
    whole = padded.bytes();
  }
  const bool always = incompressible == Incompressible::stored;
  Payload payload{Buffer(always ? format::longest_stored_bytes(cluster_size_bytes) : cluster_size_bytes - 1), 0};
  const Bytes output = payload.buffer.bytes();
  bool cancelled = false;
  co_await offload([&payload, &cancelled, type, level, whole, output, cancel, always] {
    cancelled = cancel && cancel->load();
    if (cancelled) return;
    payload.size_bytes = format::compress_cluster(type, level, whole, output.first(whole.size() - 1));
    if (always && payload.size_bytes == 0) payload.size_bytes = format::store_cluster(type, whole, output);
  });
  if (cancelled) co_return fail(ErrorCode::cancelled, "interrupted");
  co_return payload;
}

}  // namespace byre
