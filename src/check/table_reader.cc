// A queue of batches, each a run of neighbouring clusters. The oldest is awaited and handed out while the others are
// being read, then its buffer takes the next run.

#include "check/table_reader.h"

#include <algorithm>
#include <deque>
#include <memory>

#include "byre/task/sync.h"

namespace byre::check {
namespace {
constexpr std::size_t batch_bytes = 1 << 20;
constexpr std::size_t batches_in_flight = 8;
}  // namespace

struct TableReader::Batch {
  std::size_t begin = 0;  // index of the first table
  std::size_t count = 0;
  Buffer buffer;
  Event done;
  Result<void> outcome;
};

std::size_t TableReader::run_length(const std::vector<std::uint64_t>& clusters, std::size_t begin) const {
  const std::size_t most = std::max<std::size_t>(batch_bytes >> cluster_bits_, 1);
  std::size_t count = 1;
  while (begin + count < clusters.size() && count < most && clusters[begin + count] == clusters[begin] + count) {
    ++count;
  }
  return count;
}

Task<Result<void>> TableReader::fill(Batch& batch, std::uint64_t first_cluster) {
  const std::size_t length = batch.count << cluster_bits_;
  if (batch.buffer.size() < length) batch.buffer = Buffer(std::max(length, batch_bytes));
  const Bytes target = batch.buffer.bytes().first(length);
  batch.outcome = co_await read_zero_filled(storage_, first_cluster << cluster_bits_, target);
  batch.done.set();
  co_return Result<void>{};
}

Task<Result<void>> TableReader::read_each(const std::vector<std::uint64_t>& clusters, Take take) {
  std::deque<std::unique_ptr<Batch>> queue;
  std::unique_ptr<Batch> spare;
  TaskGroup group;
  Result<void> result;
  std::size_t next = 0;
  while (result && (next < clusters.size() || !queue.empty())) {
    while (next < clusters.size() && queue.size() < batches_in_flight) {
      auto batch = std::make_unique<Batch>();
      batch->begin = next;
      batch->count = run_length(clusters, next);
      if (spare) batch->buffer = std::move(spare->buffer);
      next += batch->count;
      group.start(fill(*batch, clusters[batch->begin]));
      queue.push_back(std::move(batch));
    }
    Batch& oldest = *queue.front();
    co_await oldest.done.wait();
    result = oldest.outcome;
    for (std::size_t i = 0; result && i < oldest.count; ++i) {
      take(oldest.begin + i, oldest.buffer.bytes().subspan(i << cluster_bits_, std::size_t{1} << cluster_bits_));
    }
    spare = std::move(queue.front());
    queue.pop_front();
  }
  [[maybe_unused]] const auto joined = co_await group.join();
  co_return result;
}

}  // namespace byre::check
