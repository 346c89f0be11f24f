// Which host clusters hold metadata (docs/format.md section 20.4). Every write asks it first, so that a damaged or
// hostile image cannot make the engine overwrite its own structures (H-23..H-26).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <unordered_map>

namespace byre::meta {

enum class MetadataKind : std::uint8_t {
  header,
  l1_table,
  l2_table,
  refcount_table,
  refcount_block,
  snapshot_table,
  snapshot_l1_table,
  bitmap_directory,
  bitmap_table,
  bitmap_data,
  encryption_header,
};

std::string_view describe(MetadataKind kind);

class OverlapGuard {
 public:
  // Cluster numbers are host offset / cluster size. Returns the kind that is there already, and adds nothing then.
  std::optional<MetadataKind> add(MetadataKind kind, std::uint64_t first_cluster, std::uint64_t count);
  void remove(std::uint64_t first_cluster, std::uint64_t count);

  std::optional<MetadataKind> at(std::uint64_t cluster) const;

  // Behind the last cluster that holds metadata. Looks at everything.
  std::uint64_t end() const;

 private:
  struct Region {
    std::uint64_t count;
    MetadataKind kind;
  };
  std::map<std::uint64_t, Region> regions_;                 // contiguous tables by their first cluster, disjoint
  std::unordered_map<std::uint64_t, MetadataKind> single_;  // L2 tables, refcount blocks, bitmap data
  struct Gap {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  mutable Gap gap_;  // between two regions, where at() looked last: neighbours need no search
};

}  // namespace byre::meta
