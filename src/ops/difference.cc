// The mapping gives candidates. They are cut into pieces, so many pieces are compared at once, and then their findings
// are told in order.
//
// Leaves out: which of both is the older one, and data that was written back as it had been (that is no difference).
#include "byre/ops/difference.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "base/math.h"
#include "base/text.h"
#include "byre/task/sync.h"
#include "data/mapping_difference.h"
#include "data/qcow2_disk.h"
#include "format/limits.h"
#include "ops/buffer_pool.h"
#include "ops/image_sequence.h"

namespace byre {

namespace {

using ops::BufferPool;
using ops::ImageSequence;
using ops::StatusCursor;

using format::sector_bytes;
constexpr std::uint64_t compared_piece_bytes = 256 << 10;
constexpr std::size_t pieces_at_once = 16;

struct ComparedPiece {
  GuestRange range;
  bool first_is_zero;
  bool second_is_zero;
  std::vector<DifferentRange> found;
};

class Finder {
 public:
  Finder(Qcow2Disk& first, Qcow2Disk& second, DifferenceOptions options)
      : first_disk_(first),
        second_disk_(second),
        options_(std::move(options)),
        first_(std::vector<Disk*>{&first}),
        second_(std::vector<Disk*>{&second}) {}

  Task<Result<DifferenceTotals>> run();

 private:
  Task<Result<void>> look_at(GuestRange range);
  Task<Result<void>> compare_pieces();
  Task<Result<void>> compare(ComparedPiece& piece);
  void tell(DifferentRange range);
  void tell_held();
  Result<void> check_cancelled() const {
    if (options_.cancel && options_.cancel->load()) return std::unexpected(Error(ErrorCode::cancelled, "interrupted"));
    return {};
  }

  Qcow2Disk& first_disk_;
  Qcow2Disk& second_disk_;
  const DifferenceOptions options_;
  ImageSequence first_;
  ImageSequence second_;
  StatusCursor first_status_{first_};
  StatusCursor second_status_{second_};
  BufferPool buffers_{compared_piece_bytes};
  std::vector<ComparedPiece> pieces_;
  DifferentRange held_{0, 0};  // may go on
  DifferenceTotals totals_;
};

void Finder::tell_held() {
  if (held_.length_bytes == 0) return;
  ++totals_.ranges;
  totals_.different_bytes += held_.length_bytes;
  if (options_.found) options_.found(held_);
}

void Finder::tell(DifferentRange range) {
  if (held_.length_bytes > 0 && held_.offset_bytes + held_.length_bytes == range.offset_bytes) {
    held_.length_bytes += range.length_bytes;
    return;
  }
  tell_held();
  held_ = range;
}

Task<Result<void>> Finder::compare(ComparedPiece& piece) {
  const std::size_t length = piece.range.length_bytes;
  BufferPool::Loan first_loan = buffers_.take();
  BufferPool::Loan second_loan = buffers_.take();
  const Bytes first = first_loan.first(length);
  const Bytes second = second_loan.first(length);
  if (piece.first_is_zero) std::ranges::fill(first, std::byte{0});
  if (piece.second_is_zero) std::ranges::fill(second, std::byte{0});
  if (!piece.first_is_zero) BYRE_CO_CHECK(co_await first_.read(piece.range.offset_bytes, first));
  if (!piece.second_is_zero) BYRE_CO_CHECK(co_await second_.read(piece.range.offset_bytes, second));
  for (std::size_t at = 0; at < length; at += sector_bytes) {
    const std::size_t part = std::min<std::size_t>(sector_bytes, length - at);
    if (std::memcmp(first.data() + at, second.data() + at, part) == 0) continue;
    piece.found.push_back({piece.range.offset_bytes + at, part});
  }
  co_return Result<void>{};
}

Task<Result<void>> Finder::compare_pieces() {
  TaskGroup group;
  for (ComparedPiece& piece : pieces_) group.start(compare(piece));
  BYRE_CO_CHECK(co_await group.join());
  for (const ComparedPiece& piece : pieces_) {
    for (const DifferentRange& range : piece.found) tell(range);
  }
  pieces_.clear();
  co_return check_cancelled();
}

Task<Result<void>> Finder::look_at(GuestRange range) {
  for (std::uint64_t at = range.offset_bytes; at < range.end_bytes();) {
    BYRE_CO_TRY(const BlockStatus first, co_await first_status_.at(at));
    BYRE_CO_TRY(const BlockStatus second, co_await second_status_.at(at));
    std::uint64_t length = std::min({first.length_bytes, second.length_bytes, range.end_bytes() - at});
    if (!first.zero || !second.zero) {
      length = std::min(length, compared_piece_bytes);
      pieces_.push_back({{at, length}, first.zero, second.zero, {}});
      totals_.compared_bytes += length;
    }
    at += length;
    if (pieces_.size() == pieces_at_once) BYRE_CO_CHECK(co_await compare_pieces());
  }
  co_return Result<void>{};
}

Task<Result<DifferenceTotals>> Finder::run() {
  const std::uint64_t common = std::min(first_.size_bytes(), second_.size_bytes());
  const std::uint64_t longer = std::max(first_.size_bytes(), second_.size_bytes());
  MappingDifference mapping(first_disk_.storage(), first_disk_.header().geometry(), first_disk_.l1(), second_disk_.l1(),
                            common);
  while (!mapping.done()) {
    BYRE_CO_CHECK(check_cancelled());
    auto ranges = co_await mapping.next();
    if (!ranges) {
      co_return std::unexpected(std::move(ranges).error().in_file(first_disk_.storage().name()));
    }
    for (const GuestRange& range : *ranges) BYRE_CO_CHECK(co_await look_at(range));
  }
  const GuestRange tail{common, longer - common};
  BYRE_CO_CHECK(co_await look_at(tail));
  BYRE_CO_CHECK(co_await compare_pieces());
  tell_held();
  co_return totals_;
}

}  // namespace

Task<Result<DifferenceTotals>> find_differences(Disk& first, Disk& second, DifferenceOptions options) {
  auto* const first_image = dynamic_cast<Qcow2Disk*>(&first);
  auto* const second_image = dynamic_cast<Qcow2Disk*>(&second);
  for (const Disk* const disk : {&first, &second}) {
    if (disk->format() == "qcow2") continue;
    co_return fail(ErrorCode::unsupported, "a {} disk has no internal snapshots to compare", disk->format());
  }
  const bool one_image = first_image && second_image && first.storage().identity() == second.storage().identity();
  if (!one_image || first.writable() || second.writable()) {
    co_return fail(ErrorCode::invalid_argument, "{} and {}: two read-only states of one qcow2 image are expected",
                   escape_untrusted(first.storage().name()), escape_untrusted(second.storage().name()));
  }
  Finder finder(*first_image, *second_image, std::move(options));
  co_return co_await finder.run();
}

}  // namespace byre
