// The life of a host cluster, and the only class that may change it:
//
//   Free -> Reserved -> Live -> Unlinked -> Quiet -> (Punching) -> Free
//             \-> Free (abort)
//
// Free and Live follow from the refcount and are not stored; a cluster is tracked only on its way between them, so
// memory follows what is in motion. A cluster that several references share (snapshots, compressed extents) becomes
// Unlinked with the first reference that goes, counts those that are going, and is Live again when they are gone and
// others remain. Every edge that is not in the picture is an internal error and ends the process, but for those that a
// damaged image can ask for: unlink() answers false there.
#pragma once

#include <cstdint>
#include <unordered_map>

namespace byre::meta {

enum class ClusterState : std::uint8_t { free, reserved, live, unlinked, quiet, punching };

class ClusterLife {
 public:
  // Cluster numbers are host offset / cluster size; `refcount` is the count in memory before the edge.
  ClusterState state(std::uint64_t cluster, std::uint64_t refcount) const;

  void reserve(std::uint64_t cluster, std::uint64_t refcount);  // Free -> Reserved
  void commit(std::uint64_t cluster);                           // Reserved -> Live
  void abort(std::uint64_t cluster);                            // Reserved -> Free
  [[nodiscard]] bool unlink(std::uint64_t cluster);             // Live/Unlinked -> Unlinked, one reference more
  void quiet(std::uint64_t cluster);                            // Unlinked -> Quiet, the last reference going
  void punch(std::uint64_t cluster);                            // Quiet -> Punching
  void unpunch(std::uint64_t cluster);                          // Punching -> Quiet
  void release(std::uint64_t cluster);                          // Quiet -> Free
  void drop_one(std::uint64_t cluster);                         // Unlinked -> Unlinked or Live: others remain

  // Behind the last cluster on its way. Looks at all of them.
  std::uint64_t end() const;

  // References of an Unlinked cluster that are going; 0 for any other.
  std::uint64_t going(std::uint64_t cluster) const;

 private:
  struct Tracked {
    ClusterState state;
    std::uint64_t going;  // references unlinked but not yet subtracted from the refcount
  };
  Tracked& expect(std::uint64_t cluster, ClusterState state);
  std::unordered_map<std::uint64_t, Tracked> tracked_;
};

}  // namespace byre::meta
