// The snapshot table that an image has, and the one that it will have.
#pragma once

#include <cstddef>
#include <vector>

#include "data/qcow2_disk.h"

namespace byre {

struct Qcow2Disk::SnapshotTables {
  std::vector<format::Snapshot> before, after;
  HostOffset at;                 // of the new table; 0 for none
  std::vector<std::byte> bytes;  // which it holds

  std::vector<ClusterRun> old_clusters(const format::Geometry& geometry, const format::Header& header) const {
    if (before.empty()) return {};
    const std::uint64_t length = format::stored_snapshot_table_bytes(before);
    return {{geometry.cluster_index(header.snapshot_table), geometry.clusters_for(length)}};
  }
};

}  // namespace byre
