// Whose each host cluster is, by a walk over the tables of an image. Like verify() it shares no code with the engine
// but the codecs of format/. What cannot be decoded owns nothing: judging is verify()'s business.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "byre/base/buffer.h"
#include "format/geometry.h"

namespace byre::test {

enum class RegionKind {
  header,
  refcount_table,
  refcount_block,
  l1_table,
  l2_table,
  data,
  payload,
  snapshot_table,
};
std::string_view region_name(RegionKind kind);

struct Region {
  RegionKind kind;
  std::uint64_t guest = 0;  // of data and payloads: the cluster's number; of an L2 table: its L1 index
  unsigned snapshot = 0;    // 0: of the active disk; else the number of the snapshot that refers to it
  friend bool operator==(const Region&, const Region&) = default;
};

class RegionMap {
 public:
  explicit RegionMap(ConstBytes image);

  const format::Geometry& geometry() const { return geometry_; }
  std::uint64_t clusters() const { return owners_.size(); }
  // Empty if nothing refers to the cluster.
  const std::vector<Region>& owners(std::uint64_t cluster) const;

  // What only one structure may have has two, or the first cluster for which that is so; clusters() if none.
  std::uint64_t first_shared_wrongly() const;

 private:
  std::uint64_t word(std::uint64_t at) const;
  void own(HostOffset at, std::uint64_t length_bytes, Region region);
  void walk_refcounts(HostOffset table, std::uint64_t clusters);
  void walk_l1(HostOffset table, std::uint64_t entries, unsigned snapshot);
  void walk_l2(HostOffset table, std::uint64_t l1_index, unsigned snapshot);

  ConstBytes image_;
  format::Geometry geometry_;
  std::vector<std::vector<Region>> owners_;
};

}  // namespace byre::test
