// Finds what a copy can share with its sources instead of copying it: whole units of the target whose bytes lie in
// files that the target's file can clone from (decisions/0017).
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "byre/data/disk.h"
#include "ops/image_sequence.h"

namespace byre::ops {

struct CloneRules {
  std::uint64_t total_bytes = 0;        // where the search ends
  std::uint64_t unit_bytes = 0;         // of the target; a multiple of the block
  std::uint64_t block_bytes = 0;        // of the file system: what can be shared begins and ends there
  std::uint64_t least_piece_bytes = 0;  // shorter pieces are not looked for
};

// Whole units, none of them all zeros. What no piece covers reads as zeros.
struct CloneRun {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  std::vector<ClonePiece> pieces;
  std::uint64_t end_bytes() const { return offset_bytes + length_bytes; }
};

inline constexpr std::uint64_t least_clone_bytes = 32 << 10;  // measured: copying less from memory is faster
// So that progress is seen and an interrupt heard: what the source has in memory alone is written out first.
inline constexpr std::uint64_t most_clone_bytes = 64 << 20;

// Whether a piece goes on where the one before it ends, on the disk and in the file.
bool continues(const ClonePiece& piece, const ClonePiece& next);

class CloneFinder {
 public:
  // Pieces come only from these storages. The images must outlive the finder.
  CloneFinder(ImageSequence& source, CloneRules rules, std::set<const Storage*> storages);

  std::uint64_t unit_bytes() const { return rules_.unit_bytes; }

  // The longest piece that begins at this offset and ends at `end_bytes` at the latest; of no length if there is none.
  Task<Result<ClonePiece>> piece_at(std::uint64_t offset_bytes, std::uint64_t end_bytes);

  // The length of the run that begins at this offset, a multiple of the unit; 0: there is none.
  Task<Result<std::uint64_t>> length_at(std::uint64_t offset_bytes);
  // The run that was found last.
  CloneRun take();

 private:
  Task<Result<bool>> add_whole_units();
  Task<Result<bool>> add_mixed_unit();
  ClonePiece to_piece(std::uint64_t offset_bytes, const BlockStatus& status) const;

  ImageSequence& images_;
  const CloneRules rules_;
  const std::set<const Storage*> storages_;
  StatusCursor status_;
  CloneRun run_;
  bool answered_ = false;  // run_ is what was found at its offset
};

}  // namespace byre::ops
