// How many clusters the parts of a new image have, and where they lie: header, refcount table, refcount blocks, L1
// table, L2 tables, data, one behind the other (docs/format.md sections 2 and 18).
#pragma once

#include <cstdint>

#include "byre/base/result.h"
#include "byre/base/units.h"
#include "format/geometry.h"

namespace byre::ops {

struct Layout {
  format::Geometry geometry;
  std::uint64_t l1_entries = 0;

  // Clusters of each part.
  std::uint64_t refcount_table = 0;
  std::uint64_t refcount_blocks = 0;
  std::uint64_t l1_table = 0;
  std::uint64_t l2_tables = 0;
  std::uint64_t data = 0;
  std::uint64_t extra = 0;  // whatever the caller counted in addition

  std::uint64_t metadata_clusters() const {
    return 1 + refcount_table + refcount_blocks + l1_table + l2_tables + extra;
  }
  std::uint64_t total_clusters() const { return metadata_clusters() + data; }
  std::uint64_t metadata_bytes() const { return metadata_clusters() << geometry.cluster_bits; }
  std::uint64_t total_bytes() const { return total_clusters() << geometry.cluster_bits; }
  std::uint64_t bytes_of(std::uint64_t clusters) const { return clusters << geometry.cluster_bits; }

  HostOffset refcount_table_start() const { return geometry.host_cluster(1); }
  HostOffset refcount_blocks_start() const { return refcount_table_start() + bytes_of(refcount_table); }
  HostOffset l1_start() const { return refcount_blocks_start() + bytes_of(refcount_blocks); }
  HostOffset l2_start() const { return l1_start() + bytes_of(l1_table); }
  HostOffset data_start() const { return l2_start() + bytes_of(l2_tables + extra); }
};

enum class LayoutScope { empty_disk, full_disk };

// The smallest layout whose refcount structures cover everything, themselves included. `virtual_size_bytes` is at most
// format::max_virtual_size_bytes. Counts only: limits are check_layout()'s.
Layout plan_layout(const format::Geometry& geometry, std::uint64_t virtual_size_bytes, LayoutScope scope,
                   std::uint64_t extra_clusters = 0);

// Gives refcount table and blocks the smallest sizes with which they cover all parts, themselves included.
void add_refcounts(Layout& layout);

// L1 table, refcount table and host offsets are within the format's limits (section 21). Errors: invalid_argument.
Result<> check_layout(const Layout& layout);

}  // namespace byre::ops
