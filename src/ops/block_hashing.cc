// One coroutine looks at the status, jumps over zeros, and collects the other blocks of each stretch of 2 MiB into a
// run. Runs are read and hashed side by side, each by one worker thread; then they go into the trees in the order in
// which they began. The digests depend on neither number nor speed of them.
//
// Left out: hashing one run on several threads. Sixteen runs keep sixteen processors busy, which read faster than disks
// are.
#include "ops/block_hashing.h"

#include <algorithm>

#include "base/math.h"
#include "base/text.h"
#include "byre/task/worker_pool.h"

namespace byre::ops {
namespace {

constexpr std::uint64_t block_bytes = DigestScheme::block_bytes;
constexpr std::uint64_t run_blocks = 32;  // 2 MiB: no cluster is larger, so that no compressed one is unpacked twice
constexpr unsigned stretches_of_a_jump = 1000;  // so that progress is seen and an interrupt heard
constexpr unsigned fewest_at_once = 8;
constexpr unsigned most_at_once = 16;  // 32 MiB of buffers

std::size_t requests_at_once(unsigned wanted) {
  if (wanted != 0) return std::min(wanted, most_at_once);
  const unsigned processors = WorkerPool::shared_for_computation()->thread_limit();
  return std::clamp(2 * processors, fewest_at_once, most_at_once);
}

}  // namespace

BlockHashing::BlockHashing(const DigestScheme& scheme, const std::vector<Disk*>& disks, const ChecksumOptions& options)
    : scheme_(scheme),
      options_(options),
      parallel_(requests_at_once(options.parallel_requests)),
      buffers_(run_blocks * block_bytes) {
  for (Disk* const disk : disks) sources_.emplace_back(scheme, disk);
}

std::uint64_t BlockHashing::longest_bytes() const {
  std::uint64_t longest = 0;
  for (const Source& source : sources_) longest = std::max(longest, source.image.size_bytes());
  return longest;
}

Result<void> BlockHashing::check_cancelled() const {
  if (options_.cancel && options_.cancel->load()) return fail(ErrorCode::cancelled, "interrupted");
  return {};
}

// Several disks are looked at in turn, each a little behind the one before.
void BlockHashing::report_progress(std::uint64_t block) {
  reported_bytes_ = std::max(reported_bytes_, std::min(block * block_bytes, longest_bytes()));
  if (options_.progress) options_.progress(reported_bytes_, longest_bytes());
}

// How many blocks from the first one on are known to be zeros. What lies behind the end of the disk is.
Task<Result<std::uint64_t>> BlockHashing::zero_blocks(Source& source, BlockRange range) {
  const std::uint64_t begin = range.first * block_bytes;
  const std::uint64_t end = range.end * block_bytes;
  std::uint64_t at = begin;
  for (unsigned stretches = 0; at < end && stretches < stretches_of_a_jump; ++stretches) {
    BYRE_CO_TRY(const BlockStatus status, co_await source.status.at(at));
    if (!status.zero) break;
    at += std::min(status.length_bytes, end - at);
  }
  co_return (at - begin) / block_bytes;
}

Task<Result<void>> BlockHashing::add(std::size_t disk, BlockRange range, std::vector<std::size_t> receivers) {
  Source& source = sources_[disk];
  Run run{&source, range.first, {}, receivers};
  for (std::uint64_t block = range.first; block < range.end && !group_.failed();) {
    BYRE_CO_CHECK(check_cancelled());
    const BlockRange rest{block, range.end};
    BYRE_CO_TRY(const std::uint64_t zeros, co_await zero_blocks(source, rest));
    block += zeros;
    if (block / run_blocks != run.first / run_blocks) {
      co_await start(std::move(run));
      run = {&source, block, {}, receivers};
      report_progress(block);
    }
    if (zeros > 0) continue;
    if (run.stored.empty()) run.first = block;
    run.stored.resize(block - run.first, false);
    run.stored.push_back(true);
    ++block;
  }
  co_await start(std::move(run));
  co_return Result<void>{};
}

Task<void> BlockHashing::start(Run run) {
  if (run.stored.empty()) co_return;
  co_await group_.wait_below(parallel_ - 1);
  group_.start(hash_run(std::move(run), order_.take()));
}

// Neighbouring blocks are read at once.
Task<Result<void>> BlockHashing::read_run(const Run& run, Bytes buffer) {
  TaskGroup reads;
  for (std::size_t i = 0; i < run.stored.size();) {
    std::size_t end = i;
    while (end < run.stored.size() && run.stored[end]) ++end;
    if (end > i) {
      const Bytes part = buffer.subspan(i * block_bytes, (end - i) * block_bytes);
      reads.start(run.source->image.read((run.first + i) * block_bytes, part));
    }
    i = std::max(end, i + 1);
  }
  co_return co_await reads.join();
}

void BlockHashing::hash_blocks(const Run& run, ConstBytes blocks, std::vector<std::byte>& digests) const {
  Hasher hasher(scheme_.hash());
  const std::size_t length = scheme_.digest_bytes();
  for (std::size_t i = 0; i < run.stored.size(); ++i) {
    const Bytes digest = Bytes(digests).subspan(i * length, length);
    if (run.stored[i]) {
      scheme_.hash_block(hasher, blocks.subspan(i * block_bytes, block_bytes), digest);
    } else {
      std::ranges::copy(scheme_.zeros(0), digest.begin());
    }
  }
}

Task<Result<void>> BlockHashing::read_and_hash(const Run& run, std::vector<std::byte>& digests) {
  BufferPool::Loan loan = buffers_.take();
  const Bytes buffer = loan.first(run.stored.size() * block_bytes);
  BYRE_CO_CHECK(co_await read_run(run, buffer));
  digests.resize(run.stored.size() * scheme_.digest_bytes());
  co_await offload([this, &run, buffer, &digests] { hash_blocks(run, buffer, digests); });
  co_return Result<void>{};
}

Task<Result<void>> BlockHashing::hash_run(Run run, std::uint64_t ticket) {
  std::vector<std::byte> digests;
  const Result<void> done = co_await read_and_hash(run, digests);
  co_await order_.wait_for(ticket);
  if (done) {
    for (const std::size_t receiver : run.receivers) {
      DigestTree& tree = sources_[receiver].tree;
      BYRE_ASSERT(tree.blocks() <= run.first);
      tree.add_zeros(run.first - tree.blocks());
      tree.add(digests);
    }
  }
  order_.pass();
  co_return done;
}

Task<Result<std::vector<Checksum>>> BlockHashing::finish() {
  BYRE_CO_CHECK(co_await group_.join());
  std::vector<Checksum> checksums;
  checksums.reserve(sources_.size());
  for (Source& source : sources_) {
    checksums.push_back({options_.algorithm, source.tree.finish(source.image.size_bytes())});
  }
  report_progress(ceil_div(longest_bytes(), block_bytes));
  co_return checksums;
}

}  // namespace byre::ops
