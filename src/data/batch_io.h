// Many reads or writes of metadata at once, several in flight.
#pragma once

#include <cstdint>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "data/cluster_runs.h"

namespace byre {

inline constexpr std::uint64_t table_batch_bytes = 8 << 20;  // of tables in memory at once, for what goes over them all

struct BatchPart {
  std::uint64_t offset_bytes;
  Bytes bytes;  // of the caller; parts that lie one behind the other in file and memory become one request
};

// What lies behind the end of the storage reads as zeros: an image may end within its last cluster.
Task<Result<void>> read_batch(Storage& storage, std::vector<BatchPart> parts);
// In no order, and not synced.
Task<Result<void>> write_batch(Storage& storage, std::vector<BatchPart> parts);

// Gives the space of clusters back, as far as they lie inside the file. Best effort, as for every cluster that is free.
// `runs` rise.
Task<void> punch_clusters(Storage& storage, unsigned cluster_bits, std::vector<ClusterRun> runs);

}  // namespace byre
