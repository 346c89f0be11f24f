// Stretches that need no reading are jumped over as far as they cover whole units; their ragged ends are copied with
// their neighbours. Short ones stay inside a window, so that an image of many small holes is still copied in large
// requests. What can be shared with the source ends a window too.
#include "ops/copy_plan.h"

#include <algorithm>

#include "base/math.h"

namespace byre::ops {

namespace {

constexpr std::uint64_t shortest_jump_bytes = 256 << 10;
constexpr std::uint64_t longest_zero_request_bytes = 1 << 30;  // so that progress is seen and an interrupt heard

}  // namespace

CopyPlan::CopyPlan(ImageSequence& source, ImageSequence& target, CopyPlanRules rules)
    : rules_(rules), source_status_(source), top_status_(source, true), target_status_(target) {}

bool CopyPlan::compares() const {
  return rules_.target_content == TargetContent::compared || rules_.target_content == TargetContent::same_below;
}

// The end of the whole units that the piece covers from its start on (which is the start of a unit, or is not used).
std::uint64_t CopyPlan::inner_end(const CopyPiece& piece) const {
  const std::uint64_t end = piece.offset_bytes + piece.length_bytes;
  return end >= rules_.total_bytes ? rules_.total_bytes : round_down(end, rules_.unit_bytes);
}

// Whether source and target get this stretch from the same file below; cuts `length_bytes` to where that is known.
Task<Result<bool>> CopyPlan::is_shared(std::uint64_t offset_bytes, std::uint64_t& length_bytes) {
  if (rules_.target_content != TargetContent::same_below) co_return false;
  BYRE_CO_TRY(const BlockStatus top, co_await top_status_.at(offset_bytes));
  length_bytes = std::min(length_bytes, top.length_bytes);
  co_return !top.present;
}

Task<Result<CopyPlan::Stretch>> CopyPlan::stretch_at(std::uint64_t offset_bytes) {
  BYRE_CO_TRY(const BlockStatus source, co_await source_status_.at(offset_bytes));
  std::uint64_t length = std::min(source.length_bytes, rules_.total_bytes - offset_bytes);
  BYRE_CO_TRY(const bool shared, co_await is_shared(offset_bytes, length));
  const bool zero = source.zero && rules_.detect_zeros;
  bool target_is_zero = false;
  if (compares() || (zero && rules_.target_content == TargetContent::unknown)) {
    BYRE_CO_TRY(const BlockStatus target, co_await target_status_.at(offset_bytes));
    length = std::min(length, target.length_bytes);
    target_is_zero = target.zero;
  }
  Stretch stretch{Action::copy, {offset_bytes, length, source.zero, target_is_zero}};
  if (shared || (source.zero && target_is_zero)) {
    stretch.action = Action::skip;
  } else if (zero) {
    stretch.action = rules_.target_content == TargetContent::zeros ? Action::skip : Action::zero;
  }
  co_return stretch;
}

Task<Result<bool>> CopyPlan::clones_begin_here() {
  if (!clones_ || !is_aligned(at_, clones_->unit_bytes())) co_return false;
  BYRE_CO_TRY(const std::uint64_t length, co_await clones_->length_at(at_));
  co_return length > 0;
}

// Where in the stretch, whose bytes are all of one kind, a run of shared units may begin: data at its first unit, zeros
// in front of data at the last. The end of the stretch if there is none.
Task<Result<std::uint64_t>> CopyPlan::clones_begin_in(Stretch stretch) {
  const std::uint64_t end = stretch.piece.offset_bytes + stretch.piece.length_bytes;
  if (!clones_) co_return end;
  const std::uint64_t unit = clones_->unit_bytes();
  const std::uint64_t begin = stretch.piece.source_is_zero ? round_down(end, unit) : round_up(at_, unit);
  if (begin < at_ || begin >= end) co_return end;
  BYRE_CO_TRY(const std::uint64_t length, co_await clones_->length_at(begin));
  co_return length > 0 ? begin : end;
}

// Pieces from at_ to the end of the window at most, or to a stretch that is worth a jump.
Task<Result<CopyWindow>> CopyPlan::gather() {
  const std::uint64_t end = std::min(round_down(at_, rules_.window_bytes) + rules_.window_bytes, rules_.total_bytes);
  CopyWindow window;
  window.offset_bytes = at_;
  while (at_ < end) {
    BYRE_CO_TRY(Stretch stretch, co_await stretch_at(at_));
    const std::uint64_t unit = round_up(at_, rules_.unit_bytes);
    const bool jump = stretch.action != Action::copy && inner_end(stretch.piece) >= unit + shortest_jump_bytes;
    if (jump && unit == at_ && at_ > window.offset_bytes) break;
    BYRE_CO_TRY(const std::uint64_t clones, co_await clones_begin_in(stretch));
    if (clones == at_ && at_ > window.offset_bytes) break;
    const std::uint64_t stop = std::min(jump ? std::min(unit, end) : end, clones);
    stretch.piece.length_bytes = std::min(stretch.piece.length_bytes, stop - at_);
    BYRE_ASSERT(stretch.piece.length_bytes > 0);
    window.pieces.push_back(stretch.piece);
    at_ += stretch.piece.length_bytes;
  }
  window.length_bytes = at_ - window.offset_bytes;
  co_return window;
}

Task<Result<std::optional<CopyWindow>>> CopyPlan::next() {
  while (at_ < rules_.total_bytes) {
    BYRE_CO_TRY(const Stretch stretch, co_await stretch_at(at_));
    const std::uint64_t end = inner_end(stretch.piece);
    if (stretch.action == Action::skip && end > at_) {
      at_ = end;
      continue;
    }
    BYRE_CO_TRY(const bool shared, co_await clones_begin_here());
    CopyWindow window;
    if (shared) {
      CloneRun run = clones_->take();
      window.offset_bytes = at_;
      window.length_bytes = run.length_bytes;
      window.clones = std::move(run.pieces);
      at_ += window.length_bytes;
    } else if (stretch.action == Action::zero && end > at_) {
      window.offset_bytes = at_;
      window.length_bytes = std::min(end - at_, longest_zero_request_bytes);
      window.all_zero = true;
      at_ += window.length_bytes;
    } else {
      BYRE_CO_TRY(window, co_await gather());
    }
    window.ticket = next_ticket_++;
    co_return std::optional<CopyWindow>(std::move(window));
  }
  co_return std::optional<CopyWindow>();
}

}  // namespace byre::ops
