// Pieces end at multiples of a megabyte, so that no cluster is written by two of them. They are in flight together; a
// checkpoint waits for all.
//
// Leaves out: the order of clusters in the target, which depends on which read was faster.

#include "ops/layer_copy.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/probe.h"
#include "base/text.h"
#include "byre/task/sync.h"
#include "ops/buffer_pool.h"
#include "ops/copy_runs.h"
#include "ops/early_flush.h"
#include "ops/pace.h"

namespace byre::ops {
namespace {

constexpr std::uint64_t copied_piece_bytes = 2 << 20;  // no cluster is larger
constexpr std::size_t pieces_in_flight = 8;
constexpr std::size_t compared_unit_bytes = 4096;

class Copier {
 public:
  Copier(LayerCopy copy, LayerRule& rule)
      : copy_(std::move(copy)), rule_(rule), buffers_(copied_piece_bytes), early_flush_(copy_.target->storage()) {}

  Task<Result<void>> run() {
    auto done = co_await walk();
    auto joined = co_await group_.join();
    if (done) done = std::move(joined);
    auto flushed = co_await early_flush_.join();
    if (done) done = std::move(flushed);
    if (done) done = co_await rule_.checkpoint(copy_.size_bytes);
    co_return done;
  }

 private:
  Task<Result<void>> walk() {
    for (std::uint64_t at = 0; at < copy_.size_bytes;) {
      if (cancelled()) co_return fail(ErrorCode::cancelled, "interrupted");
      BYRE_CO_TRY(LayerRun run, co_await rule_.run_at(at, copy_.size_bytes - at));
      if (copy_.stores_zeros && run.action == LayerAction::zero) run.action = LayerAction::copy;
      const std::uint64_t length = piece_length(run, at);
      if (run.action != LayerAction::skip) co_await start(run.action, at, length);
      if (group_.failed() || early_flush_.failed()) co_return Result<void>{};
      at += length;
      if (copy_.options.progress) copy_.options.progress(at, copy_.size_bytes);
      BYRE_CO_CHECK(co_await pause_between(at));
    }
    co_return Result<void>{};
  }

  // Zeros and what is skipped take no time: they go in one.
  static std::uint64_t piece_length(const LayerRun& run, std::uint64_t at) {
    if (run.action == LayerAction::skip || run.action == LayerAction::zero) return run.length_bytes;
    return std::min(run.length_bytes, copied_piece_bytes - at % copied_piece_bytes);
  }

  Task<void> start(LayerAction action, std::uint64_t at, std::uint64_t length) {
    co_await group_.wait_below(pieces_in_flight - 1);
    if (action == LayerAction::zero) {
      group_.start(copy_.target->write_zeroes(at, length, ZeroMode::unmap));
    } else {
      written_bytes_ += length;
      co_await early_flush_.note(length);
      group_.start(piece(action, at, length));
    }
  }

  bool cancelled() const { return copy_.options.cancel && copy_.options.cancel->load(); }

  Task<Result<void>> pause_between(std::uint64_t at) {
    co_await pace_.wait_for(written_bytes_ + checked_bytes_);
    if (written_bytes_ < copy_.options.checkpoint_bytes) co_return Result<void>{};
    if (Clock::now() - checked_ < copy_.options.checkpoint_time) co_return Result<void>{};
    BYRE_CO_CHECK(co_await group_.join());
    BYRE_PROBE("ops: what a long copy has done becomes durable");
    checked_bytes_ += std::exchange(written_bytes_, 0);
    auto done = co_await rule_.checkpoint(at);
    checked_ = Clock::now();
    co_return done;
  }

  Task<Result<void>> piece(LayerAction action, std::uint64_t at, std::uint64_t length) {
    BufferPool::Loan loan = buffers_.take();
    const Bytes content = loan.first(length);
    BYRE_CO_CHECK(co_await copy_.source->read(at, content));
    if (action == LayerAction::copy) co_return co_await write(at, content, ConstBytes());
    BufferPool::Loan other = buffers_.take();
    const Bytes existing = other.first(length);
    BYRE_CO_CHECK(co_await read_compared(at, existing));
    co_return co_await write(at, content, existing);
  }

  Task<Result<void>> read_compared(std::uint64_t at, Bytes existing) {
    const std::uint64_t size = copy_.compared ? copy_.compared->size_bytes() : 0;
    const std::size_t there = at >= size ? 0 : std::min<std::uint64_t>(existing.size(), size - at);
    std::memset(existing.data() + there, 0, existing.size() - there);
    if (there == 0) co_return Result<void>{};
    const Bytes part = existing.first(there);
    co_return co_await copy_.compared->read(at, part);
  }

  Task<Result<void>> write(std::uint64_t at, ConstBytes content, ConstBytes existing) {
    CopyRunRules rules;
    rules.unit_bytes = std::max<std::size_t>(compared_unit_bytes, copy_.target->cluster_size_bytes());
    rules.sparse_bytes = rules.unit_bytes;
    rules.skip_zeros = false;
    const std::vector<CopyRun> runs = copy_runs(content, existing, rules);
    for (const CopyRun& run : runs) {
      const ConstBytes data = content.subspan(run.offset_bytes, run.length_bytes);
      if (run.kind == CopyRun::Kind::zero && !copy_.stores_zeros) {
        BYRE_CO_CHECK(co_await copy_.target->write_zeroes(at + run.offset_bytes, data.size(), ZeroMode::unmap));
      } else {
        BYRE_CO_CHECK(co_await copy_.target->write(at + run.offset_bytes, data));
      }
    }
    co_return Result<void>{};
  }

  using Clock = std::chrono::steady_clock;
  LayerCopy copy_;
  LayerRule& rule_;
  BufferPool buffers_;
  TaskGroup group_;
  EarlyFlush early_flush_;
  std::uint64_t written_bytes_ = 0;  // since the last checkpoint
  std::uint64_t checked_bytes_ = 0;  // before it
  Pace pace_{copy_.options.bytes_per_second, copy_.options.cancel};
  Clock::time_point checked_ = Clock::now();  // the last checkpoint
};

}  // namespace

Task<Result<void>> copy_layers(LayerCopy copy, LayerRule& rule) {
  Copier copier(std::move(copy), rule);
  co_return co_await copier.run();
}

Task<Result<LayerRun>> run_of_layers(Disk* disk, const Disk* end, std::uint64_t offset_bytes,
                                     std::uint64_t max_length_bytes) {
  std::uint64_t length = max_length_bytes;
  for (; disk != end && disk; disk = disk->backing()) {
    if (offset_bytes >= disk->size_bytes()) co_return LayerRun{LayerAction::zero, length};
    length = std::min(length, disk->size_bytes() - offset_bytes);
    BYRE_CO_TRY(const BlockStatus status, co_await disk->layer_status(offset_bytes, length));
    length = status.length_bytes;
    if (!status.present) continue;
    const bool zero = status.zero && !status.data;
    co_return LayerRun{zero ? LayerAction::zero : LayerAction::copy, length};
  }
  co_return LayerRun{LayerAction::skip, length};
}

}  // namespace byre::ops
