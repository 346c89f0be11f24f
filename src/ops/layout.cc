// The refcount blocks must count themselves and their table: the numbers only grow, so that repeating the estimate
// until it stands still finds the smallest fixed point, after a few rounds.
#include "ops/layout.h"

#include "base/math.h"
#include "base/text.h"
#include "format/limits.h"

namespace byre::ops {

void add_refcounts(Layout& layout) {
  for (;;) {
    const std::uint64_t blocks = ceil_div(layout.total_clusters(), layout.geometry.refcounts_per_block());
    const std::uint64_t table = ceil_div(blocks, layout.geometry.refcount_table_entries_per_cluster());
    if (blocks == layout.refcount_blocks && table == layout.refcount_table) return;
    layout.refcount_blocks = blocks;
    layout.refcount_table = table;
  }
}

Layout plan_layout(const format::Geometry& geometry, std::uint64_t virtual_size_bytes, LayoutScope scope,
                   std::uint64_t extra_clusters) {
  Layout layout;
  layout.geometry = geometry;
  layout.extra = extra_clusters;
  layout.l1_entries = geometry.required_l1_entries(virtual_size_bytes);
  layout.l1_table = geometry.clusters_for(layout.l1_entries * 8);
  if (scope == LayoutScope::full_disk) {
    layout.l2_tables = layout.l1_entries;
    layout.data = geometry.clusters_for(virtual_size_bytes);
  }
  add_refcounts(layout);
  return layout;
}

Result<> check_layout(const Layout& layout) {
  if (layout.l1_entries > format::max_l1_entries) {
    return fail(ErrorCode::invalid_argument,
                "the disk needs an L1 table of {}, above the limit of {}; use a larger cluster_size",
                human_size(layout.l1_entries * 8), human_size(format::max_l1_bytes));
  }
  if (layout.bytes_of(layout.refcount_table) > format::max_refcount_table_bytes) {
    return fail(ErrorCode::invalid_argument,
                "the image needs a refcount table of {}, above the limit of {}; use a larger cluster_size or fewer "
                "refcount_bits",
                human_size(layout.bytes_of(layout.refcount_table)), human_size(format::max_refcount_table_bytes));
  }
  if (layout.total_clusters() > format::max_host_offset >> layout.geometry.cluster_bits) {
    return fail(ErrorCode::invalid_argument, "the image would be longer than {}, which no entry can point to",
                human_size(format::max_host_offset));
  }
  return {};
}

}  // namespace byre::ops
