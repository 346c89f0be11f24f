// One coroutine walks over the block status of both images and collects the pieces that somebody has to read into
// batches; several batches are read at once. Batches start in the order of their offsets, and everything that started
// is waited for, so keeping the finding with the lowest offset gives the same answer for every order of completion.
// What both images have from the same place of the same file is equal unread.
#include "byre/ops/compare.h"

#include <algorithm>
#include <cstring>
#include <variant>
#include <vector>

#include "base/math.h"
#include "byre/task/sync.h"
#include "format/limits.h"
#include "ops/buffer_pool.h"
#include "ops/image_sequence.h"

namespace byre {

namespace {

using ops::BufferPool;
using ops::ImageSequence;
using ops::StatusCursor;

using format::sector_bytes;
constexpr std::uint64_t batch_bytes = 256 << 10;  // small enough that both sides stay in the processor's cache
constexpr std::size_t batch_pieces = 64;

struct Piece {
  std::uint64_t offset_bytes;
  std::uint64_t length_bytes;
  bool first_is_zero;
  bool second_is_zero;
};
using Batch = std::vector<Piece>;

using Outcome = std::expected<Comparison, CompareFailure>;

bool same_kind(const BlockStatus& a, const BlockStatus& b) {
  return a.present == b.present && a.zero == b.zero && a.data == b.data && a.compressed == b.compressed &&
         a.host_offset_bytes.has_value() == b.host_offset_bytes.has_value();
}

// Offset of the first byte that differs from the other side, or from zero; the size if none does.
std::size_t first_difference(ConstBytes first, ConstBytes second) {
  std::size_t at = 0;
  for (std::size_t length = 0; at < first.size(); at += length) {
    length = std::min<std::size_t>(sector_bytes, first.size() - at);
    if (std::memcmp(first.data() + at, second.data() + at, length) != 0) break;
  }
  while (at < first.size() && first[at] == second[at]) ++at;
  return at;
}
std::size_t first_not_zero(ConstBytes bytes) {
  if (is_all_zero(bytes)) return bytes.size();
  return static_cast<std::size_t>(std::ranges::find_if(bytes, [](std::byte byte) { return byte != std::byte{0}; }) -
                                  bytes.begin());
}

class Comparer {
 public:
  Comparer(Disk& first, Disk& second, CompareOptions options)
      : first_({&first}), second_({&second}), options_(std::move(options)) {}

  Task<Outcome> run();

 private:
  Task<void> walk();
  Task<bool> step();
  bool is_shared(const BlockStatus& first, const BlockStatus& second) const;
  void start(Batch batch);
  Task<Result<void>> compare_batch(Batch batch);
  Task<bool> piece_differs(Piece piece);
  void find(std::uint64_t offset_bytes, Outcome outcome);
  void fail_at(std::uint64_t offset_bytes, CompareFailure::Step step, Error error);
  void report_progress();
  std::uint64_t total_bytes() const { return std::max(first_.size_bytes(), second_.size_bytes()); }
  std::uint64_t common_bytes() const { return std::min(first_.size_bytes(), second_.size_bytes()); }

  ImageSequence first_;
  ImageSequence second_;
  CompareOptions options_;
  StatusCursor first_status_{first_};
  StatusCursor second_status_{second_};
  BufferPool buffers_{batch_bytes};
  TaskGroup group_;
  Batch batch_;
  std::uint64_t batched_bytes_ = 0;
  std::uint64_t at_ = 0;  // everything in front was looked at or is in a batch
  std::uint64_t found_at_ = 0;
  std::optional<Outcome> found_;
};

void Comparer::find(std::uint64_t offset_bytes, Outcome outcome) {
  if (found_ && found_at_ <= offset_bytes) return;
  found_at_ = offset_bytes;
  found_ = std::move(outcome);
}

void Comparer::fail_at(std::uint64_t offset_bytes, CompareFailure::Step step, Error error) {
  find(offset_bytes, std::unexpected(CompareFailure{step, std::move(error)}));
}

void Comparer::report_progress() {
  if (options_.progress) options_.progress(at_, total_bytes());
}

Task<bool> Comparer::piece_differs(Piece piece) {
  const std::size_t length = piece.length_bytes;
  BufferPool::Loan first_loan = buffers_.take();
  BufferPool::Loan second_loan = buffers_.take();
  const Bytes first = first_loan.first(piece.first_is_zero ? 0 : length);
  const Bytes second = second_loan.first(piece.second_is_zero ? 0 : length);
  Result<void> done = co_await first_.read(piece.offset_bytes, first);
  if (done) done = co_await second_.read(piece.offset_bytes, second);
  if (!done) {
    fail_at(piece.offset_bytes, CompareFailure::Step::read, std::move(done).error());
    co_return true;
  }
  std::size_t at = length;
  if (piece.first_is_zero) at = first_not_zero(second);
  if (piece.second_is_zero) at = first_not_zero(first);
  if (!piece.first_is_zero && !piece.second_is_zero) at = first_difference(first, second);
  if (at == length) co_return false;
  const std::uint64_t sector = round_down(piece.offset_bytes + at, sector_bytes);
  find(sector, Comparison{Difference::content, sector, false});
  co_return true;
}

// Findings go to find(); the group itself never sees an error.
Task<Result<void>> Comparer::compare_batch(Batch batch) {
  for (const Piece& piece : batch) {
    if (found_ && found_at_ <= piece.offset_bytes) break;
    const bool differs = co_await piece_differs(piece);
    if (differs) break;
  }
  co_return Result<void>();
}

void Comparer::start(Batch batch) {
  if (!batch.empty()) group_.start(compare_batch(std::move(batch)));
}

// Whether both have what begins at at_ from the same bytes of one file. A compressed cluster has no place that is told;
// but in a layer below, which is never a snapshot, one file has only one cluster for an offset.
bool Comparer::is_shared(const BlockStatus& first, const BlockStatus& second) const {
  if (!first.data || !second.data || first.host_offset_bytes != second.host_offset_bytes) return false;
  if (!first.host_offset_bytes && (first.depth == 0 || second.depth == 0)) return false;
  Disk& a = first_.layer(at_, first.depth);
  Disk& b = second_.layer(at_, second.depth);
  return a.storage().identity() == b.storage().identity() && a.format() == b.format();
}

// Looks at one stretch. False if there is nothing to be gained by going on.
Task<bool> Comparer::step() {
  Result<BlockStatus> first = co_await first_status_.at(at_);
  if (!first) {
    fail_at(at_, CompareFailure::Step::status, std::move(first).error());
    co_return false;
  }
  Result<BlockStatus> second = co_await second_status_.at(at_);
  if (!second) {
    fail_at(at_, CompareFailure::Step::status, std::move(second).error());
    co_return false;
  }
  if (options_.strict && !same_kind(*first, *second)) {
    find(at_, Comparison{Difference::status, at_, false});
    co_return false;
  }
  std::uint64_t length = std::min({first->length_bytes, second->length_bytes, total_bytes() - at_});
  const bool equal = (first->zero && second->zero) || is_shared(*first, *second);
  if (!equal) {
    length = std::min(length, batch_bytes - batched_bytes_);
    batch_.push_back({at_, length, first->zero, second->zero});
    batched_bytes_ += length;
  }
  at_ += length;
  co_return true;
}

Task<void> Comparer::walk() {
  while (at_ < total_bytes() && !found_) {
    if (options_.cancel && options_.cancel->load()) {
      fail_at(0, CompareFailure::Step::other, Error(ErrorCode::cancelled, "interrupted"));
      co_return;
    }
    const bool goes_on = co_await step();
    if (!goes_on) break;
    if (batched_bytes_ < batch_bytes && batch_.size() < batch_pieces) continue;
    co_await group_.wait_below(std::max(options_.parallel_requests, 1u) - 1);
    start(std::exchange(batch_, {}));
    batched_bytes_ = 0;
    report_progress();
  }
  start(std::move(batch_));
}

Task<Outcome> Comparer::run() {
  const bool sizes_differ = total_bytes() != common_bytes();
  if (options_.strict && sizes_differ) co_return Comparison{Difference::size, 0, false};
  co_await walk();
  const Result<void> joined = co_await group_.join();
  BYRE_ASSERT(joined.has_value());
  Outcome outcome = found_ ? std::move(*found_) : Outcome(Comparison());
  if (outcome) {
    const bool common_part_agrees = outcome->difference == Difference::none || outcome->offset_bytes >= common_bytes();
    outcome->only_sizes_differ_so_far = sizes_differ && common_part_agrees;
  }
  co_return outcome;
}

}  // namespace

Task<std::expected<Comparison, CompareFailure>> compare_disks(Disk& first, Disk& second, CompareOptions options) {
  Comparer comparer(first, second, std::move(options));
  co_return co_await comparer.run();
}

}  // namespace byre
