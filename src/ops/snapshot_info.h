// What is told of snapshots, from their entries in the table.
#pragma once

#include <vector>

#include "byre/ops/info.h"
#include "format/snapshot_table.h"

namespace byre::ops {

inline std::vector<SnapshotInfo> describe_snapshots(const std::vector<format::Snapshot>& snapshots) {
  std::vector<SnapshotInfo> infos;
  infos.reserve(snapshots.size());
  for (const format::Snapshot& snapshot : snapshots) {
    infos.push_back({snapshot.id, snapshot.name, snapshot.vm_state_bytes, snapshot.date_seconds,
                     snapshot.date_nanoseconds, snapshot.vm_clock_nanoseconds, snapshot.instruction_count});
  }
  return infos;
}

}  // namespace byre::ops
