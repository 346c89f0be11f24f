// What leads to the tables of an image: all that compaction may have to change when it moves something.
#pragma once

#include <cstdint>
#include <vector>

#include "byre/base/result.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "format/entry.h"
#include "format/header.h"

namespace byre {

// Eight bytes of the file that lead to a host cluster, or to a payload.
struct Pointer {
  std::uint64_t place_bytes;  // where they are
  std::uint64_t word;
  std::uint64_t owners;  // how often it counts: once for each L1 entry that leads to its table

  std::uint64_t target_bytes() const { return word & format::entry_offset_mask; }  // not of a compressed cluster
};

// A table that lies in one piece and is named by one pointer.
struct Region {
  std::uint64_t first, clusters;
  std::uint64_t place_bytes;  // of the pointer
};

struct CompactRoots {
  std::vector<Pointer> tables;        // the L1 entries of all trees that lead to an L2 table, sorted by the table
  std::vector<std::uint64_t> l1;      // each L2 table once, in the order of the file, as an L1 table
  std::vector<std::uint64_t> owners;  // of each of them
  std::vector<Region> l1_tables;      // named by the header and by the snapshot table
  std::vector<Region> others;         // named by the header: snapshot table, refcount table
};

// The image must stand still. Errors: corrupt, I/O.
Task<Result<CompactRoots>> read_compact_roots(Storage& storage, const format::Header& header);

}  // namespace byre
