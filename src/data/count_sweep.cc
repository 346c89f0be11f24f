// A batch is as many refcount blocks as fit into some megabytes. Its pieces are the runs, cut at the blocks' borders.
//
// Leaves out: new refcount blocks. A cluster that is referred to has a count, so its block is there.

#include "data/count_sweep.h"

#include <algorithm>

#include "base/endian.h"
#include "base/math.h"
#include "base/probe.h"
#include "base/text.h"
#include "byre/base/buffer.h"
#include "data/batch_io.h"
#include "format/entry.h"
#include "format/refcount.h"

namespace byre {
namespace {
constexpr std::uint64_t behind_all = ~std::uint64_t{0};

CountChange opposite(CountChange change) {
  return change == CountChange::lower ? CountChange::raise : CountChange::lower;
}

// What of the runs lies below a cluster.
std::vector<ClusterRun> below(const std::vector<ClusterRun>& runs, std::uint64_t end) {
  std::vector<ClusterRun> part;
  for (const ClusterRun& run : runs) {
    if (run.first >= end) break;
    part.push_back({run.first, std::min(run.count, end - run.first), run.references});
  }
  return part;
}
}  // namespace

// Where the sweep is: `run` of the runs, `done` clusters of it behind it.
struct CountSweep::Batch {
  std::size_t run = 0;
  std::uint64_t done = 0;
  std::vector<HostOffset> blocks;
  std::vector<Piece> pieces;
  Buffer buffer;

  std::vector<BatchPart> parts(std::uint64_t block_bytes) {
    std::vector<BatchPart> all;
    all.reserve(blocks.size());
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      all.push_back({blocks[i].bytes, buffer.bytes().subspan(i * block_bytes, block_bytes)});
    }
    return all;
  }
};

Result<void> CountSweep::choose(Batch& batch, const std::vector<ClusterRun>& runs) {
  const std::uint64_t most = std::max<std::uint64_t>(1, table_batch_bytes >> geometry_.cluster_bits);
  const std::uint64_t per_block = geometry_.refcounts_per_block();
  batch.blocks.clear();
  batch.pieces.clear();
  std::uint64_t last_index = behind_all;
  while (batch.run < runs.size()) {
    const ClusterRun& run = runs[batch.run];
    const std::uint64_t cluster = run.first + batch.done;
    const std::uint64_t index = geometry_.refcount_table_index(cluster);
    if (index != last_index) {
      if (batch.blocks.size() == most) break;
      const auto block =
          index < table_.size() ? format::decode_refcount_table_entry(geometry_, table_[index]) : HostOffset(0);
      if (!block) {
        return fail(ErrorCode::corrupt, "refcount table entry {}: {}", index, format::describe(block.error()));
      }
      if (block->bytes == 0) {
        return fail(ErrorCode::corrupt, "host cluster {} is referred to but not counted: check -r all repairs that",
                    cluster);
      }
      batch.blocks.push_back(*block);
      last_index = index;
    }
    const std::uint64_t in_block = geometry_.refcount_block_index(cluster);
    const std::uint64_t count = std::min(run.count - batch.done, per_block - in_block);
    batch.pieces.push_back({batch.blocks.size() - 1, in_block, cluster, count, run.references});
    batch.done += count;
    if (batch.done == run.count) {
      ++batch.run;
      batch.done = 0;
    }
  }
  return {};
}

Task<Result<void>> CountSweep::load(Batch& batch) {
  const std::uint64_t bytes = batch.blocks.size() << geometry_.cluster_bits;
  if (batch.buffer.size() < bytes) batch.buffer = Buffer(bytes);
  std::vector<BatchPart> parts = batch.parts(geometry_.cluster_size_bytes());
  co_return co_await read_batch(storage_, std::move(parts));
}

Result<void> CountSweep::refuse(std::uint64_t cluster, std::uint64_t count, CountChange change) const {
  if (change == CountChange::lower || (count == 0 && change == CountChange::raise)) {
    return fail(ErrorCode::corrupt,
                "host cluster {} has refcount {}, less than the references to it: check -r all "
                "repairs that",
                cluster, count);
  }
  return fail(ErrorCode::unsupported,
              "host cluster {} has refcount {}, and with refcounts of {} bits it cannot have as many owners more",
              cluster, count, geometry_.refcount_bits());
}

// The width of nearly all images, without a choice for each count.
bool CountSweep::change_wide_piece(std::byte* counts, const Piece& piece, CountChange change) const {
  const std::uint64_t most = format::max_refcount(geometry_.refcount_order);
  const bool raise = change != CountChange::lower;
  if (piece.references > most) return false;
  const std::uint64_t lowest_raised = change == CountChange::claim ? 0 : 1;
  const std::uint64_t least = raise ? lowest_raised : piece.references + 1;  // nothing becomes free
  const std::uint64_t highest = raise ? most - piece.references : most;
  const auto step = static_cast<std::uint16_t>(raise ? piece.references : 0 - piece.references);
  for (std::uint64_t i = 0; i < piece.count; ++i) {
    const std::uint16_t count = load_be16(counts + i * 2);
    if (count < least || count > highest) return false;
  }
  for (std::uint64_t i = 0; i < piece.count; ++i) {
    store_be16(counts + i * 2, static_cast<std::uint16_t>(load_be16(counts + i * 2) + step));
  }
  return true;
}

Result<void> CountSweep::change_piece(Batch& batch, const Piece& piece, CountChange change, ClusterRuns* freed) {
  std::byte* block = batch.buffer.data() + (piece.slot << geometry_.cluster_bits);
  const unsigned order = geometry_.refcount_order;
  const std::uint64_t most = format::max_refcount(order);
  const std::uint64_t references = piece.references;
  if (order == 4 && change_wide_piece(block + piece.first_in_block * 2, piece, change)) return {};
  for (std::uint64_t i = 0; i < piece.count; ++i) {
    const std::uint64_t index = piece.first_in_block + i;
    const std::uint64_t count = format::load_refcount(block, order, index);
    const bool raise = change != CountChange::lower;
    const bool counted = count > 0 || change == CountChange::claim || putting_back_;
    const bool fits = raise ? references <= most - count && counted : count >= references;
    if (!fits) return refuse(piece.first_cluster + i, count, change);
    const std::uint64_t now = raise ? count + references : count - references;
    format::store_refcount(block, order, index, now);
    if (now == 0 && freed) freed->add(piece.first_cluster + i, 1);
  }
  return {};
}

Result<void> CountSweep::change_counts(Batch& batch, CountChange change, ClusterRuns* freed) {
  for (const Piece& piece : batch.pieces) BYRE_CHECK(change_piece(batch, piece, change, freed));
  return {};
}

// Everything below cluster `done_below` is changed and written; of what follows nothing is, or whole_ is false.
Task<Result<void>> CountSweep::sweep(const std::vector<ClusterRun>& runs, CountChange change, ClusterRuns* freed,
                                     std::uint64_t& done_below) {
  for (Batch batch; batch.run < runs.size();) {
    BYRE_CO_CHECK(choose(batch, runs));
    done_below = batch.pieces.front().first_cluster;
    BYRE_CO_CHECK(co_await load(batch));
    BYRE_CO_CHECK(change_counts(batch, change, freed));
    BYRE_CO_CHECK(co_await write(batch, change));
  }
  co_return Result<void>{};
}

Task<Result<void>> CountSweep::write(Batch& batch, CountChange change) {
  std::vector<BatchPart> parts = batch.parts(geometry_.cluster_size_bytes());
  auto written = co_await write_batch(storage_, parts);
  if (written) co_return written;
  putting_back_ = true;
  Result<void> back = change_counts(batch, opposite(change), nullptr);
  if (back) back = co_await write_batch(storage_, std::move(parts));
  whole_ = whole_ && back.has_value();
  co_return written;
}

Task<Result<void>> CountSweep::check(const std::vector<ClusterRun>& runs, CountChange change) {
  for (Batch batch; batch.run < runs.size();) {
    BYRE_CO_CHECK(choose(batch, runs));
    BYRE_CO_CHECK(co_await load(batch));
    BYRE_CO_CHECK(change_counts(batch, change, nullptr));
  }
  co_return Result<void>{};
}

Task<Result<void>> CountSweep::apply(const std::vector<ClusterRun>& runs, CountChange change, ClusterRuns* freed) {
  std::uint64_t done_below = 0;
  auto done = co_await sweep(runs, change, freed, done_below);
  if (done) co_return done;
  BYRE_PROBE("data: counts that were changed are put back");
  const std::vector<ClusterRun> changed = below(runs, done_below);
  std::uint64_t ignored = 0;
  putting_back_ = true;
  const auto back = co_await sweep(changed, opposite(change), nullptr, ignored);
  whole_ = whole_ && back.has_value();
  co_return done;
}

}  // namespace byre
