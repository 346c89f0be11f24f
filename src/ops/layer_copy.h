// Copying between the layers of a chain: a rule says for each stretch of the disk what becomes of it, and the copy does
// it with several requests in flight, stopping now and then so that what is done can be made durable.
#pragma once

#include <cstdint>

#include "byre/base/result.h"
#include "byre/data/disk.h"
#include "byre/ops/chain.h"
#include "byre/task/task.h"

namespace byre::ops {

enum class LayerAction {
  skip,
  zero,     // the target gets zeros
  copy,     // the target gets what the source reads
  compare,  // the same, where it differs from what `compared` reads
};

struct LayerRun {
  LayerAction action = LayerAction::skip;
  std::uint64_t length_bytes = 0;  // above 0
};

class LayerRule {
 public:
  virtual ~LayerRule() = default;
  // The stretch from `offset_bytes` on, at most `max_length_bytes` (above 0).
  virtual Task<Result<LayerRun>> run_at(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) = 0;
  // Everything below `done_bytes` has been done, and nothing is in flight: as often as ChainOptions has it, and at the
  // end.
  virtual Task<Result<void>> checkpoint(std::uint64_t done_bytes) = 0;
};

struct LayerCopy {
  Disk* source = nullptr;
  Disk* target = nullptr;
  Disk* compared = nullptr;  // reads as zeros behind its end; null: zeros throughout
  std::uint64_t size_bytes = 0;
  bool stores_zeros = false;  // as bytes: the target has no other way to hide what will lie below it
  ChainOptions options;
};

// Both disks must be at least that long, `compared` need not. Neither flushes nor closes: checkpoint() may.
Task<Result<void>> copy_layers(LayerCopy copy, LayerRule& rule);

// What the chain from `disk` down to, but without, `end` (may be null) says of a stretch: zero, copy, or skip where
// none of these layers has it. A layer that is too short hides those below it with zeros.
Task<Result<LayerRun>> run_of_layers(Disk* disk, const Disk* end, std::uint64_t offset_bytes,
                                     std::uint64_t max_length_bytes);

}  // namespace byre::ops
