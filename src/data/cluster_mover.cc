// A batch takes two syncs. At every moment each count is at least the number of references, and what a durable pointer
// leads to is durable and counted: the new place before the pointers change, the old one until that is durable. A crash
// leaves clusters that are counted and not referred to.
//
// Leaves out: reading what was copied once more. A batch that fails before its pointers are written takes its counts
// back as far as that works.

#include "data/cluster_mover.h"

#include <algorithm>

#include "base/endian.h"
#include "base/probe.h"
#include "byre/base/buffer.h"
#include "data/batch_io.h"

namespace byre {
namespace {

constexpr std::uint64_t copied_at_once_bytes = 8 << 20;
constexpr std::uint64_t patched_block_bytes = 4096;

std::vector<ClusterRun> runs_of(const std::map<std::uint64_t, std::uint64_t>& references) {
  std::vector<ClusterRun> runs;
  for (const auto& [cluster, owners] : references) {
    if (!runs.empty() && runs.back().end() == cluster && runs.back().references == owners) {
      ++runs.back().count;
    } else {
      runs.push_back({cluster, 1, owners});
    }
  }
  return runs;
}

}  // namespace

void MoveBatch::count(References& references, std::uint64_t at_bytes, std::uint64_t length_bytes,
                      std::uint64_t owners) const {
  const std::uint64_t last = (at_bytes + length_bytes - 1) >> geometry_.cluster_bits;
  for (std::uint64_t cluster = at_bytes >> geometry_.cluster_bits; cluster <= last; ++cluster) {
    references[cluster] += owners;
  }
}

void MoveBatch::move(std::uint64_t from_bytes, std::uint64_t to_bytes, std::uint64_t length_bytes,
                     std::uint64_t references) {
  transfers_.push_back({from_bytes, to_bytes, length_bytes});
  bytes_ += length_bytes;
  count(claimed_, to_bytes, length_bytes, references);
  count(released_, from_bytes, length_bytes, references);
}

void MoveBatch::drop(std::uint64_t from_bytes, std::uint64_t length_bytes, std::uint64_t references) {
  count(released_, from_bytes, length_bytes, references);
}

Task<Result<std::vector<ClusterRun>>> ClusterMover::run(MoveBatch batch, std::function<void()> relinked) {
  const std::vector<ClusterRun> claimed = runs_of(batch.claimed_);
  BYRE_CO_CHECK(co_await prepare(batch, claimed));
  auto pointed = co_await point(std::move(batch.patches_));
  if (pointed) pointed = co_await storage_.flush();
  if (!pointed) {
    exact_ = false;  // which of the pointers are new is not known: both places stay counted
    co_return std::unexpected(std::move(pointed).error());
  }
  if (relinked) relinked();
  ClusterRuns freed;
  const std::vector<ClusterRun> released = runs_of(batch.released_);
  const auto lowered = co_await sweep_.apply(released, CountChange::lower, &freed);
  if (!lowered) {
    exact_ = false;
    co_return std::unexpected(lowered.error());
  }
  std::vector<ClusterRun> runs = freed.take_sorted();
  if (punch_) co_await punch_clusters(storage_, geometry_.cluster_bits, runs);  // nothing durable leads there
  co_return runs;
}

// Counts first: a refcount block is copied as it will be.
Task<Result<void>> ClusterMover::prepare(const MoveBatch& batch, const std::vector<ClusterRun>& claimed) {
  auto done = co_await sweep_.apply(claimed, CountChange::claim, nullptr);
  if (!done) {
    exact_ = exact_ && sweep_.whole();
    co_return done;
  }
  done = co_await copy(batch.transfers_);
  if (done) done = co_await storage_.flush();
  if (done) co_return done;
  BYRE_PROBE("data: a batch of moves is taken back");
  auto back = co_await sweep_.apply(claimed, CountChange::lower, nullptr);
  if (back) back = co_await storage_.flush();
  exact_ = exact_ && back.has_value();
  co_return done;
}

Task<Result<void>> ClusterMover::copy(const std::vector<MoveBatch::Transfer>& transfers) {
  Buffer buffer;
  for (std::size_t next = 0; next < transfers.size();) {
    std::uint64_t bytes = 0;
    std::size_t end = next;
    for (; end < transfers.size() && (end == next || bytes < copied_at_once_bytes); ++end) {
      bytes += transfers[end].length_bytes;
    }
    if (buffer.size() < bytes) buffer = Buffer(bytes);
    std::vector<BatchPart> from, to;
    std::uint64_t at = 0;
    for (; next < end; ++next) {
      const MoveBatch::Transfer& transfer = transfers[next];
      const Bytes piece = buffer.bytes().subspan(at, transfer.length_bytes);
      from.push_back({transfer.from_bytes, piece});
      to.push_back({transfer.to_bytes, piece});
      at += transfer.length_bytes;
    }
    BYRE_CO_CHECK(co_await read_batch(storage_, std::move(from)));
    BYRE_CO_CHECK(co_await write_batch(storage_, std::move(to)));
  }
  co_return Result<void>{};
}

// Many pointers lie in one block: each is read and written once.
Task<Result<void>> ClusterMover::point(std::vector<MoveBatch::Patch> patches) {
  std::ranges::sort(patches, {}, &MoveBatch::Patch::place_bytes);
  const std::uint64_t size = std::min(patched_block_bytes, geometry_.cluster_size_bytes());
  const std::uint64_t most = copied_at_once_bytes / size;
  Buffer buffer;
  for (std::size_t next = 0; next < patches.size();) {
    std::vector<std::uint64_t> blocks;
    std::size_t end = next;
    for (; end < patches.size(); ++end) {
      const std::uint64_t block = patches[end].place_bytes / size * size;
      if (!blocks.empty() && blocks.back() == block) continue;
      if (blocks.size() == most) break;
      blocks.push_back(block);
    }
    if (buffer.size() < blocks.size() * size) buffer = Buffer(blocks.size() * size);
    std::vector<BatchPart> parts;
    parts.reserve(blocks.size());
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      parts.push_back({blocks[i], buffer.bytes().subspan(i * size, size)});
    }
    BYRE_CO_CHECK(co_await read_batch(storage_, parts));
    for (std::size_t i = 0; next < end; ++next) {
      while (patches[next].place_bytes / size * size != blocks[i]) ++i;
      store_be64(buffer.data() + i * size + patches[next].place_bytes % size, patches[next].word);
    }
    BYRE_CO_CHECK(co_await write_batch(storage_, std::move(parts)));
  }
  co_return Result<void>{};
}

}  // namespace byre
