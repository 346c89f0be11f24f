// Images that somebody damaged: every row of docs/format.md 20.2, and what the reference does not look at, each on
// several bases (cluster sizes, refcount widths, versions, extended L2 entries, with and without a snapshot).
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "format/geometry.h"

namespace byre::test {

enum class Damage {
  leaks,       // only leaks
  corruption,  // and perhaps leaks
  payload,     // found only where payloads are decompressed; nothing can repair it
  stops,       // without Repair::all the check cannot be completed
};

struct DamagedImage {
  std::string name;  // "base/kind"
  Damage damage = Damage::corruption;
  bool repairable = true;
  std::vector<std::byte> bytes;
  std::vector<std::byte> whole;        // the image before the damage
  std::set<std::uint64_t> may_differ;  // guest clusters that need not read as before, after a repair
  bool snapshot = false;               // has snapshot "1"
  bool snapshot_may_go = false;
  std::uint64_t cluster_size_bytes = 0;
};

// One base and what the kinds of damage do to it.
class DamageTarget {
 public:
  DamageTarget(std::string base, std::vector<std::byte> image, format::Geometry geometry, bool snapshot);

  const std::string& base() const { return base_; }
  const format::Geometry& geometry() const { return geometry_; }
  bool snapshot() const { return snapshot_; }
  std::uint64_t cluster() const { return geometry_.cluster_size_bytes(); }
  std::vector<std::byte>& bytes() { return image_; }
  std::uint64_t end() const { return image_.size(); }

  std::uint64_t load64(std::uint64_t at) const;
  void put64(std::uint64_t at, std::uint64_t value);
  void put32(std::uint64_t at, std::uint32_t value);

  std::uint64_t l1_at(std::uint64_t index) const { return load64(40) + index * 8; }
  std::uint64_t l2_table() const;
  std::uint64_t l2_at(std::uint64_t guest_cluster) const;
  std::uint64_t host_of(std::uint64_t guest_cluster) const;
  std::uint64_t table_at(std::uint64_t index) const { return load64(48) + index * 8; }
  std::uint64_t block() const { return load64(table_at(0)); }
  std::uint64_t count(std::uint64_t host_offset) const;
  void set_count(std::uint64_t host_offset, std::uint64_t count);
  std::uint64_t snapshot_entry() const { return load64(64); }

 private:
  std::string base_;
  std::vector<std::byte> image_;
  format::Geometry geometry_;
  bool snapshot_;
};

// A kind of damage. `inflict` returns false if it does not apply to the base.
struct DamageKind {
  std::string name;
  Damage damage = Damage::corruption;
  bool (*inflict)(DamageTarget& target) = nullptr;
  std::set<std::uint64_t> may_differ = {};
  bool repairable = true;
  bool snapshot_may_go = false;
};
std::vector<DamageKind> damage_to_counts();
std::vector<DamageKind> damage_to_entries();
std::vector<DamageKind> damage_to_tables();

// All kinds on all bases. Guest clusters 0, 1 and 5 to 8 hold data, 2 and 9 are compressed, 3 is zero and allocated, 4
// zero (version 3), the rest is unallocated; the L1 table has two entries, the second one empty.
std::vector<DamagedImage> damaged_images();

}  // namespace byre::test
