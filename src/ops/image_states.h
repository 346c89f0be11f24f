// The states that a qcow2 image holds: those of its internal snapshots, and the disk itself.
#pragma once

#include <memory>
#include <vector>

#include "byre/base/result.h"
#include "byre/task/task.h"
#include "data/qcow2_disk.h"

namespace byre::ops {

struct ImageStates {
  std::vector<format::Snapshot> snapshots;         // in the order of their table
  std::vector<std::unique_ptr<Qcow2Disk>> opened;  // theirs
  std::vector<Qcow2Disk*> disks;                   // the same, then the image's disk
};

// `image` must outlive them and change nothing meanwhile. Errors: corrupt, which name the snapshot.
Task<Result<ImageStates>> open_states(Qcow2Disk& image);

}  // namespace byre::ops
