// Reference counts as they are in memory: on disk at the last cut, plus what was reserved, minus what has become free
// (docs/format.md section 6). The refcount table is resident; blocks come page by page through the cache.
#pragma once

#include <cstdint>

#include "format/geometry.h"
#include "meta/outcome.h"
#include "meta/page_cache.h"
#include "meta/resident_table.h"

namespace byre::meta {

class Refcounts {
 public:
  Refcounts(const format::Geometry& geometry, PageCache& cache, ResidentTable table)
      : geometry_(geometry), cache_(cache), table_(std::move(table)) {}

  // The page that holds a cluster's count, or null where no refcount block covers it (its count is 0).
  // `host_end` bounds where a block may lie (H-20).
  Outcome<Page*> page_of(std::uint64_t cluster, HostOffset host_end);
  Outcome<std::uint64_t> get(std::uint64_t cluster, HostOffset host_end);

  // `page` is page_of(cluster) and has not left the cache since.
  std::uint64_t load(const Page& page, std::uint64_t cluster) const;
  void store(Page& page, std::uint64_t cluster, std::uint64_t count);

  // Counts of [first, last) that are in one page: the first index with count 0, or `last`.
  std::uint64_t find_free(const Page& page, std::uint64_t first, std::uint64_t last) const;

  // Whether the page whose first count is that of `first` counts `cluster` once, if it counts it, and no other.
  bool counts_only(const Page& page, std::uint64_t first, std::uint64_t cluster) const;

  std::uint64_t counts_per_page() const { return cache_.page_size_bytes() * 8 >> geometry_.refcount_order; }
  std::uint64_t counts_per_block() const { return geometry_.refcounts_per_block(); }
  std::uint64_t maximum() const;

  ResidentTable& table() { return table_; }
  const ResidentTable& table() const { return table_; }

 private:
  const format::Geometry& geometry_;
  PageCache& cache_;
  ResidentTable table_;
};

}  // namespace byre::meta
