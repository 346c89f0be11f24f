// Where the refcount structure of a repaired image will lie. Blocks that can stay stay where they are; for all others,
// and for a table that cannot stay or is too short, clusters are found that nothing refers to, before anything is
// written.
#pragma once

#include <set>
#include <vector>

#include "check/checker.h"

namespace byre::check {

struct CountPlan {
  std::vector<std::uint64_t> table;  // raw entries, as they will be
  HostOffset table_at;
  bool table_moves = false;
  std::vector<BlockUse> kept;         // rewritten in place
  std::vector<BlockUse> added;        // written whole, elsewhere
  HostOffset snapshot_table_at;       // where a new snapshot table goes, 0 for none
  std::uint64_t file_clusters = 0;    // afterwards
  std::vector<std::uint64_t> reused;  // clusters inside the file that get new content
};

// Adjusts the checker's references to what they will be. Nothing of the old structure, and with dropped snapshots or
// bitmaps nothing but the space behind the end of the file, is used for the new one. Error: no_space.
Result<CountPlan> plan_counts(Checker& checker, std::uint64_t snapshot_table_bytes);

}  // namespace byre::check
