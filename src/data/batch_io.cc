// One request for each stretch; at most so many at once.

#include "data/batch_io.h"

#include <algorithm>

#include "byre/task/sync.h"

namespace byre {
namespace {

constexpr std::size_t requests_in_flight = 16;
constexpr std::size_t most_bytes_at_once = 1 << 20;

bool continues(const BatchPart& part, const BatchPart& next) {
  return part.offset_bytes + part.bytes.size() == next.offset_bytes &&
         part.bytes.data() + part.bytes.size() == next.bytes.data() &&
         part.bytes.size() + next.bytes.size() <= most_bytes_at_once;
}

std::vector<BatchPart> joined(const std::vector<BatchPart>& parts) {
  std::vector<BatchPart> requests;
  for (const BatchPart& part : parts) {
    if (!requests.empty() && continues(requests.back(), part)) {
      BatchPart& last = requests.back();
      last.bytes = Bytes(last.bytes.data(), last.bytes.size() + part.bytes.size());
    } else {
      requests.push_back(part);
    }
  }
  return requests;
}

}  // namespace

Task<Result<void>> read_batch(Storage& storage, std::vector<BatchPart> parts) {
  const std::vector<BatchPart> requests = joined(parts);
  TaskGroup group;
  for (const BatchPart& request : requests) {
    co_await group.wait_below(requests_in_flight - 1);
    group.start(read_zero_filled(storage, request.offset_bytes, request.bytes));
  }
  co_return co_await group.join();
}

Task<Result<void>> write_batch(Storage& storage, std::vector<BatchPart> parts) {
  const std::vector<BatchPart> requests = joined(parts);
  TaskGroup group;
  for (const BatchPart& request : requests) {
    co_await group.wait_below(requests_in_flight - 1);
    group.start(write_bytes(storage, request.offset_bytes, request.bytes));
  }
  co_return co_await group.join();
}

Task<void> punch_clusters(Storage& storage, unsigned cluster_bits, std::vector<ClusterRun> runs) {
  for (const ClusterRun& run : runs) {
    const std::uint64_t begin = run.first << cluster_bits;
    const std::uint64_t end = std::min(storage.size_bytes(), run.end() << cluster_bits);
    if (begin >= end) break;
    [[maybe_unused]] const auto punched = co_await storage.punch(begin, end - begin);
  }
}

}  // namespace byre
