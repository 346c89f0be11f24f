// What exclusive operations share: what one has done so far, so that a failure can be taken back.
#pragma once

#include <vector>

#include "data/qcow2_disk.h"
#include "format/entry.h"

namespace byre {

// An L1 table as another tree may share it.
inline std::vector<std::uint64_t> without_copied(std::vector<std::uint64_t> l1) {
  for (std::uint64_t& entry : l1) entry &= ~format::entry_copied_flag;
  return l1;
}

struct Qcow2Disk::Undo {
  std::vector<ClusterRun> regions;    // allocated, and reachable only once it is published
  std::uint64_t file_size_bytes = 0;  // before the first of them
  TreeCounts* raised = nullptr;       // whose references were counted
  bool flags_cleared = false;         // COPIED of the active tables
  bool published = false;             // the header names the new state, or may do so
};

}  // namespace byre
