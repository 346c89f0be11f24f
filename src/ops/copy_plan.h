// Cuts a copy into windows: what has to be looked at, in the order of offsets, without what the block status alone
// already settles.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "byre/ops/copy.h"
#include "ops/clone_finder.h"
#include "ops/image_sequence.h"

namespace byre::ops {

struct CopyPiece {
  std::uint64_t offset_bytes;
  std::uint64_t length_bytes;
  bool source_is_zero;
  bool target_is_zero;  // meaningful if the target is compared
};

struct CopyWindow {
  std::uint64_t ticket = 0;  // 0, 1, 2, ...
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  bool all_zero = false;           // to be zeroed in one call; has no pieces
  std::vector<CopyPiece> pieces;   // cover the window
  std::vector<ClonePiece> clones;  // instead of them: to be shared in one call
};

struct CopyPlanRules {
  std::uint64_t total_bytes = 0;
  std::uint64_t unit_bytes = 4096;       // power of two
  std::uint64_t window_bytes = 2 << 20;  // multiple of the unit: windows end at multiples of it at the latest
  TargetContent target_content = TargetContent::zeros;
  bool detect_zeros = true;  // false: zeros of the source are data
};

class CopyPlan {
 public:
  // `target` is asked for its status if it is compared.
  CopyPlan(ImageSequence& source, ImageSequence& target, CopyPlanRules rules);

  // What the finder finds is shared. Comes before next().
  void share(CloneFinder finder) { clones_.emplace(std::move(finder)); }

  // Nothing: the plan is at its end.
  Task<Result<std::optional<CopyWindow>>> next();

  // Everything in front was handed out or needs nothing.
  std::uint64_t position_bytes() const { return at_; }

 private:
  enum class Action { copy, skip, zero };
  struct Stretch {
    Action action;
    CopyPiece piece;
  };
  Task<Result<Stretch>> stretch_at(std::uint64_t offset_bytes);
  Task<Result<CopyWindow>> gather();
  Task<Result<bool>> clones_begin_here();
  Task<Result<std::uint64_t>> clones_begin_in(Stretch stretch);
  Task<Result<bool>> is_shared(std::uint64_t offset_bytes, std::uint64_t& length_bytes);
  std::uint64_t inner_end(const CopyPiece& piece) const;
  bool compares() const;

  CopyPlanRules rules_;
  StatusCursor source_status_;
  StatusCursor top_status_;
  StatusCursor target_status_;
  std::optional<CloneFinder> clones_;
  std::uint64_t at_ = 0;
  std::uint64_t next_ticket_ = 0;
};

}  // namespace byre::ops
