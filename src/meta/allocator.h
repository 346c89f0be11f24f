// Finds and counts free host clusters, and grows the refcount structure where it does not reach (docs/format.md
// sections 6 and 17, O-8, O-9).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "format/geometry.h"
#include "meta/cluster_life.h"
#include "meta/drops.h"
#include "meta/outcome.h"
#include "meta/overlap_guard.h"
#include "meta/page_cache.h"
#include "meta/refcounts.h"

namespace byre::meta {

// Consecutive host clusters. Fresh ones lie behind everything the file ever held: they read as zeros.
struct HostRun {
  HostOffset at;
  std::uint64_t clusters = 0;
  bool fresh = false;
};

class Allocator {
 public:
  // `host_end` is the file's length rounded up to whole clusters.
  Allocator(const format::Geometry& geometry, PageCache& cache, Refcounts& refcounts, ClusterLife& life,
            OverlapGuard& guard, DropQueue& drops, LeaseBook& leases, HostOffset host_end);

  // Reserves 1 to `wanted` consecutive clusters: count 1, state Reserved. Either all of the run is reserved or none.
  Outcome<HostRun> reserve(std::uint64_t wanted);

  // Reserves exactly the cluster behind `previous` if it is free; nothing if it is not.
  Outcome<bool> reserve_next(HostOffset cluster);

  // Exactly `clusters` (above 0) consecutive clusters for a contiguous table, Live at once: it is reachable through
  // memory, and a cut writes it before whatever points to it.
  Outcome<HostOffset> allocate_table(std::uint64_t clusters);

  // Lowers host_end() past free clusters and returns it: the file may be cut there once a cut has made it durable.
  Outcome<HostOffset> trim_end();
  // The same after refcount blocks that count nothing but themselves have gone, from the end of the file on.
  Outcome<HostOffset> trim_end_and_blocks();
  // The file could not be cut there: what it still holds up to here is not fresh.
  void note_file_end(HostOffset end) { host_end_ = std::max(host_end_, end); }

  // Reserved -> Live, and Reserved -> Free. The pages that hold the counts were pinned or are still cached. Nothing was
  // written into a run that is `untouched`: where it was the last of the file, the file ends in front of it again.
  void commit(const HostRun& run);
  void abort(const HostRun& run, bool untouched);

  // A cluster became free: the next search begins there at the latest.
  void note_free(std::uint64_t cluster);

  // End of the highest cluster that the file holds or that was handed out.
  HostOffset host_end() const { return host_end_; }

  // The refcount table moved and the header must follow (12 bytes at offset 48); cleared by take_table_moved().
  bool table_moved() const { return table_moved_; }
  void set_table_moved(bool moved) { table_moved_ = moved; }
  std::uint32_t table_clusters() const { return table_clusters_; }
  void set_table_clusters(std::uint32_t clusters) { table_clusters_ = clusters; }

 private:
  Outcome<bool> release_last_block();
  Outcome<HostRun> take_run(Page& page, std::uint64_t first, std::uint64_t last);
  Outcome<void> expect_free(std::uint64_t cluster);
  Outcome<HostOffset> append_table(std::uint64_t clusters);
  Outcome<std::uint64_t> end_of_counts(std::uint64_t first, std::uint64_t clusters);
  std::vector<std::uint64_t> missing_blocks(std::uint64_t first, std::uint64_t clusters) const;
  Outcome<void> add_block(std::uint64_t table_index, std::uint64_t cluster);
  void link_block(std::uint64_t table_index, std::uint64_t cluster);
  Outcome<void> grow_table(std::uint64_t table_index);
  void claim(std::uint64_t first, std::uint64_t count);
  void skip_page(std::uint64_t last);
  std::uint64_t cluster_of(HostOffset at) const { return at.bytes >> geometry_.cluster_bits; }

  const format::Geometry& geometry_;
  PageCache& cache_;
  Refcounts& refcounts_;
  ClusterLife& life_;
  OverlapGuard& guard_;
  DropQueue& drops_;
  LeaseBook& leases_;
  HostOffset host_end_;
  std::uint64_t next_ = 1;  // no free cluster below it that this session knows of
  std::uint64_t full_pages_ = 0;
  std::uint32_t table_clusters_ = 0;
  bool table_moved_ = false;
};

}  // namespace byre::meta
