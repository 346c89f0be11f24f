// What the states of a qcow2 image (its snapshots, and the disk itself) have in a range of the guest, told from their
// raw table entries: which states have the same there, and which clusters differ.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "byre/base/result.h"
#include "byre/task/task.h"
#include "data/mapping_difference.h"
#include "data/qcow2_disk.h"

namespace byre::ops {

// States that have the same L1 entries over a range, and the same end of the disk in it.
struct StateGroup {
  std::vector<std::size_t> states;
  Qcow2Disk* disk = nullptr;       // of one of them
  std::uint64_t end_bytes = 0;     // of its disk, or of the range
  bool empty = true;               // no L2 table at all
  std::vector<std::byte> entries;  // of the chunk that is loaded, COPIED taken off
};

// What one or several groups have at one guest cluster.
struct Variant {
  std::size_t group = 0;         // the first that has it
  GuestRange range;              // up to the end of the disk
  std::uint64_t references = 0;  // how many states have it
  std::uint64_t word = 0;        // the L2 entry of the copy, without COPIED; 0: reads as zeros
};

// In the order of states; those whose disk ends before the range are in none.
std::vector<StateGroup> group_states(const std::vector<Qcow2Disk*>& states, GuestRange range);

// The entries and variants of a part of the range. Groups must outlive it.
class StateChunk {
 public:
  // `cluster_bytes` is the unit of the variants; `range` begins at a multiple of it.
  StateChunk(std::vector<StateGroup>& groups, GuestRange range, std::uint64_t cluster_bytes);

  // Errors: corrupt (an L1 entry that cannot be followed), I/O.
  Task<Result<void>> load();
  // Of all clusters, in the order of the guest.
  std::vector<Variant>& variants() { return variants_; }
  // Which of them a group has at a cluster, counted from the start of the chunk; nothing behind the end of its disk.
  const Variant* variant(std::size_t group, std::uint64_t cluster) const;
  std::uint64_t clusters() const { return clusters_; }

 private:
  void find_variants();
  std::size_t variant_at(std::size_t group, GuestRange range, std::size_t first_here);
  bool same(const StateGroup& first, const StateGroup& second, GuestRange range) const;

  std::vector<StateGroup>& groups_;
  const GuestRange range_;
  const std::uint64_t cluster_bytes_;
  const std::uint64_t clusters_;
  std::vector<Variant> variants_;
  std::vector<std::vector<std::size_t>> numbers_;  // by group and cluster
};

}  // namespace byre::ops
