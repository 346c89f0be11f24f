// A run grows by as many units as one piece covers, or by one unit that several pieces and holes make up. The last
// answer is kept: a run is looked for to know where a window of copied data ends, and then to be used.
#include "ops/clone_finder.h"

#include <algorithm>
#include <utility>

#include "base/math.h"

namespace byre::ops {

namespace {

constexpr std::size_t most_pieces = 1024;

void append(std::vector<ClonePiece>& pieces, const ClonePiece& piece) {
  if (!pieces.empty() && continues(pieces.back(), piece)) {
    pieces.back().length_bytes += piece.length_bytes;
  } else {
    pieces.push_back(piece);
  }
}

}  // namespace

bool continues(const ClonePiece& piece, const ClonePiece& next) {
  return piece.source == next.source && piece.offset_bytes + piece.length_bytes == next.offset_bytes &&
         piece.source_offset_bytes + piece.length_bytes == next.source_offset_bytes;
}

CloneFinder::CloneFinder(ImageSequence& source, CloneRules rules, std::set<const Storage*> storages)
    : images_(source), rules_(rules), storages_(std::move(storages)), status_(source) {}

// Of no length unless its first byte can be shared.
ClonePiece CloneFinder::to_piece(std::uint64_t offset_bytes, const BlockStatus& status) const {
  if (status.zero || !status.host_offset_bytes) return {};
  if (!is_aligned(offset_bytes, rules_.block_bytes) || !is_aligned(*status.host_offset_bytes, rules_.block_bytes)) {
    return {};
  }
  Storage& storage = images_.layer(offset_bytes, status.depth).storage();
  if (!storages_.contains(&storage)) return {};
  return {offset_bytes, status.length_bytes, &storage, *status.host_offset_bytes};
}

// The longest one that begins here: the status may tell it in parts.
Task<Result<ClonePiece>> CloneFinder::piece_at(std::uint64_t offset_bytes, std::uint64_t end_bytes) {
  ClonePiece piece;
  for (std::uint64_t at = offset_bytes; at < end_bytes;) {
    BYRE_CO_TRY(const BlockStatus status, co_await status_.at(at));
    const ClonePiece next = to_piece(at, status);
    if (next.length_bytes == 0 || (piece.length_bytes > 0 && !continues(piece, next))) break;
    if (piece.length_bytes == 0) piece = next;
    at += next.length_bytes;
    piece.length_bytes = std::min(at, end_bytes) - offset_bytes;
  }
  co_return piece;
}

Task<Result<bool>> CloneFinder::add_whole_units() {
  const std::uint64_t begin = run_.end_bytes();
  const std::uint64_t end = std::min(rules_.total_bytes, run_.offset_bytes + most_clone_bytes);
  BYRE_CO_TRY(ClonePiece piece, co_await piece_at(begin, end));
  piece.length_bytes = round_down(piece.length_bytes, rules_.unit_bytes);
  if (piece.length_bytes == 0) co_return false;
  const bool goes_on = !run_.pieces.empty() && continues(run_.pieces.back(), piece);
  if (piece.length_bytes < rules_.least_piece_bytes && !goes_on) co_return false;
  append(run_.pieces, piece);
  run_.length_bytes += piece.length_bytes;
  co_return true;
}

Task<Result<bool>> CloneFinder::add_mixed_unit() {
  const std::uint64_t end = run_.end_bytes() + rules_.unit_bytes;
  if (end > rules_.total_bytes) co_return false;
  std::vector<ClonePiece> pieces;
  for (std::uint64_t at = run_.end_bytes(); at < end;) {
    BYRE_CO_TRY(const BlockStatus status, co_await status_.at(at));
    std::uint64_t length = std::min(status.length_bytes, end - at);
    if (!status.zero) {
      BYRE_CO_TRY(const ClonePiece piece, co_await piece_at(at, end));
      length = piece.length_bytes;
      if (length == 0 || !is_aligned(length, rules_.block_bytes)) co_return false;
      pieces.push_back(piece);
    }
    at += length;
  }
  if (pieces.empty() || pieces.size() * rules_.least_piece_bytes > rules_.unit_bytes) co_return false;
  for (const ClonePiece& piece : pieces) append(run_.pieces, piece);
  run_.length_bytes += rules_.unit_bytes;
  co_return true;
}

Task<Result<std::uint64_t>> CloneFinder::length_at(std::uint64_t offset_bytes) {
  if (answered_ && run_.offset_bytes == offset_bytes) co_return run_.length_bytes;
  run_ = {offset_bytes, 0, {}};
  bool grown = true;
  while (grown && run_.length_bytes < most_clone_bytes && run_.pieces.size() < most_pieces) {
    BYRE_CO_TRY(grown, co_await add_whole_units());
    if (!grown) {
      BYRE_CO_TRY(grown, co_await add_mixed_unit());
    }
  }
  answered_ = true;
  co_return run_.length_bytes;
}

CloneRun CloneFinder::take() {
  answered_ = false;
  return std::exchange(run_, {});
}

}  // namespace byre::ops
