// First fit from a position that moves up as clusters are taken and down when one becomes free. A run never crosses a
// refcount page, so that taking it touches one page; the next run usually continues it. After a number of full pages
// the search goes on behind the end of the file instead, so that a request on a huge full image has a bound; what was
// not searched is found by a later session.
//
// Where no refcount block covers the position, a block is put at the start of the range it covers, counting itself.
// Where the refcount table ends, a longer table goes behind its range together with the blocks that count both.
// Leaves out: looking for the longest run, and moving blocks.

#include "meta/allocator.h"

#include <algorithm>
#include <cerrno>

#include "base/math.h"
#include "base/probe.h"
#include "base/text.h"
#include "format/entry.h"
#include "format/limits.h"

namespace byre::meta {
namespace {
constexpr std::uint64_t full_pages_before_append = 256;

std::unexpected<Stop> file_too_long() {
  return std::unexpected(Stop::failed(Error(ErrorCode::no_space, "the image file would exceed 2^56 bytes", ENOSPC)));
}
}  // namespace

Allocator::Allocator(const format::Geometry& geometry, PageCache& cache, Refcounts& refcounts, ClusterLife& life,
                     OverlapGuard& guard, DropQueue& drops, LeaseBook& leases, HostOffset host_end)
    : geometry_(geometry),
      cache_(cache),
      refcounts_(refcounts),
      life_(life),
      guard_(guard),
      drops_(drops),
      leases_(leases),
      host_end_(host_end) {}

Outcome<HostRun> Allocator::reserve(std::uint64_t wanted) {
  for (;;) {
    const std::uint64_t table_index = next_ / refcounts_.counts_per_block();
    if (table_index >= refcounts_.table().size()) {
      BYRE_CHECK(grow_table(ceil_div(next_, refcounts_.counts_per_block())));
      continue;
    }
    BYRE_TRY(Page * page, refcounts_.page_of(next_, host_end_));
    if (!page) {
      BYRE_CHECK(add_block(table_index, table_index * refcounts_.counts_per_block()));
      continue;
    }
    const std::uint64_t page_end = round_down(next_, refcounts_.counts_per_page()) + refcounts_.counts_per_page();
    const std::uint64_t first = refcounts_.find_free(*page, next_, page_end);
    if (first == page_end) {
      skip_page(page_end);
      continue;
    }
    return take_run(*page, first, std::min(page_end, first + wanted));
  }
}

void Allocator::skip_page(std::uint64_t last) {
  next_ = last;
  if (++full_pages_ % full_pages_before_append != 0) return;
  BYRE_PROBE("allocator: the search goes on behind the end of the file");
  next_ = std::max(next_, cluster_of(host_end_));
}

Outcome<HostRun> Allocator::take_run(Page& page, std::uint64_t first, std::uint64_t last) {
  std::uint64_t end = first;
  while (end < last && refcounts_.load(page, end) == 0) {
    BYRE_CHECK(expect_free(end));
    ++end;
  }
  const HostOffset at(first << geometry_.cluster_bits);
  if (!fits_within(at.bytes, (end - first) << geometry_.cluster_bits, format::max_host_offset)) {
    return file_too_long();
  }
  const bool fresh = at >= host_end_;
  for (std::uint64_t cluster = first; cluster < end; ++cluster) {
    life_.reserve(cluster, 0);
    refcounts_.store(page, cluster, 1);
  }
  next_ = end;
  host_end_ = std::max(host_end_, HostOffset(end << geometry_.cluster_bits));
  return HostRun{at, end - first, fresh};
}

// A count of 0 on a cluster that is in use is how a damaged image gets data overwritten (H-25): what can be known
// without a full check is asked here.
Outcome<void> Allocator::expect_free(std::uint64_t cluster) {
  if (const auto kind = guard_.at(cluster)) {
    return damaged(fmt::format("refcount of host cluster {} is 0, but it belongs to the {}", cluster, describe(*kind)));
  }
  if (cluster == 0 || life_.state(cluster, 0) != ClusterState::free) {
    return damaged(fmt::format("refcount of host cluster {} is 0, but it is in use", cluster));
  }
  return {};
}

Outcome<bool> Allocator::reserve_next(HostOffset at) {
  const std::uint64_t cluster = cluster_of(at);
  if (cluster / refcounts_.counts_per_block() >= refcounts_.table().size()) return false;
  BYRE_TRY(Page * page, refcounts_.page_of(cluster, host_end_));
  if (!page || refcounts_.load(*page, cluster) != 0) return false;
  BYRE_CHECK(expect_free(cluster));
  life_.reserve(cluster, 0);
  refcounts_.store(*page, cluster, 1);
  if (next_ == cluster) next_ = cluster + 1;
  host_end_ = std::max(host_end_, at + geometry_.cluster_size_bytes());
  return true;
}

void Allocator::commit(const HostRun& run) {
  for (std::uint64_t i = 0; i < run.clusters; ++i) life_.commit(cluster_of(run.at) + i);
}

void Allocator::abort(const HostRun& run, bool untouched) {
  BYRE_PROBE("allocator: reserved clusters go back");
  for (std::uint64_t i = 0; i < run.clusters; ++i) {
    const std::uint64_t cluster = cluster_of(run.at) + i;
    const auto page = refcounts_.page_of(cluster, host_end_);
    BYRE_ASSERT(page && *page);
    refcounts_.store(**page, cluster, 0);
    life_.abort(cluster);
    note_free(cluster);
  }
  const bool last = run.at + (run.clusters << geometry_.cluster_bits) == host_end_;
  if (untouched && run.fresh && last) host_end_ = run.at;
}

void Allocator::note_free(std::uint64_t cluster) { next_ = std::min(next_, cluster); }

Outcome<void> Allocator::add_block(std::uint64_t table_index, std::uint64_t cluster) {
  BYRE_CHECK(expect_free(cluster));
  link_block(table_index, cluster);
  if (cluster / refcounts_.counts_per_block() == table_index) claim(cluster, 1);
  return {};
}

void Allocator::link_block(std::uint64_t table_index, std::uint64_t cluster) {
  BYRE_PROBE("allocator: a new refcount block");
  const HostOffset block(cluster << geometry_.cluster_bits);
  // A page of an earlier table at this place may still be cached, clean.
  cache_.forget(block, geometry_.cluster_size_bytes());
  for (std::uint64_t offset = 0; offset < geometry_.cluster_size_bytes(); offset += cache_.page_size_bytes()) {
    cache_.mark_dirty(cache_.insert(block + offset, PageKind::refcount));
  }
  refcounts_.table().set(table_index, format::encode_refcount_table_entry(block));
  const auto taken = guard_.add(MetadataKind::refcount_block, cluster, 1);
  BYRE_ASSERT(!taken);
}

// Counts clusters of new refcount structures and tables, which are Live at once: they are reachable through the table
// in memory, and a cut writes them before the table.
void Allocator::claim(std::uint64_t first, std::uint64_t count) {
  for (std::uint64_t cluster = first; cluster < first + count; ++cluster) {
    const auto page = refcounts_.page_of(cluster, HostOffset(format::max_host_offset));
    BYRE_ASSERT(page && *page);
    life_.reserve(cluster, refcounts_.load(**page, cluster));
    refcounts_.store(**page, cluster, 1);
    life_.commit(cluster);
  }
  host_end_ = std::max(host_end_, HostOffset((first + count) << geometry_.cluster_bits));
}

Outcome<HostOffset> Allocator::allocate_table(std::uint64_t clusters) {
  BYRE_TRY(const HostRun run, reserve(clusters));
  if (run.clusters == clusters) {
    commit(run);
    return run.at;
  }
  this->abort(run, true);
  return append_table(clusters);
}

// Behind the end of the file, with the refcount blocks that it needs in front. No page may miss once something changes.
Outcome<HostOffset> Allocator::append_table(std::uint64_t clusters) {
  const std::uint64_t per_block = refcounts_.counts_per_block();
  const PageHold hold(cache_);
  for (std::uint64_t first = cluster_of(host_end_);;) {
    const std::vector<std::uint64_t> missing = missing_blocks(first, clusters);
    const std::uint64_t all = missing.size() + clusters;
    if ((first + all - 1) / per_block >= refcounts_.table().size()) {
      const std::uint64_t next = next_;
      BYRE_CHECK(grow_table(refcounts_.table().size()));
      next_ = next;
      first = cluster_of(host_end_);
      continue;
    }
    BYRE_TRY(const std::uint64_t counted_end, end_of_counts(first, all));
    if (counted_end > first) {
      first = counted_end;
      continue;
    }
    for (std::uint64_t i = 0; i < all; ++i) BYRE_CHECK(expect_free(first + i));
    const HostOffset at((first + missing.size()) << geometry_.cluster_bits);
    if (!fits_within(at.bytes, clusters << geometry_.cluster_bits, format::max_host_offset)) return file_too_long();
    for (std::uint64_t i = 0; i < missing.size(); ++i) link_block(missing[i], first + i);
    claim(first, all);
    return at;
  }
}

// The refcount table entries without a block that count `clusters` clusters and the blocks in front of them.
std::vector<std::uint64_t> Allocator::missing_blocks(std::uint64_t first, std::uint64_t clusters) const {
  const std::uint64_t per_block = refcounts_.counts_per_block();
  std::vector<std::uint64_t> missing;
  for (std::uint64_t index = first / per_block; index <= (first + missing.size() + clusters - 1) / per_block; ++index) {
    if (index >= refcounts_.table().size() || refcounts_.table()[index] == 0) missing.push_back(index);
  }
  return missing;
}

// Behind the last cluster of the range that has a count (a leak behind the end of the file), `first` if none has.
Outcome<std::uint64_t> Allocator::end_of_counts(std::uint64_t first, std::uint64_t clusters) {
  std::uint64_t end = first;
  for (std::uint64_t cluster = first; cluster < first + clusters; ++cluster) {
    BYRE_TRY(const std::uint64_t count, refcounts_.get(cluster, host_end_));
    if (count > 0) end = cluster + 1;
  }
  return end;
}

// Whole ranges without a refcount block are one step: a sparse file of terabytes is nothing else (H-60). What is known
// to be used stays, whatever its count (H-25).
Outcome<HostOffset> Allocator::trim_end() {
  const std::uint64_t used_end = std::max({guard_.end(), life_.end(), std::uint64_t{1}});
  while (cluster_of(host_end_) > used_end) {
    const std::uint64_t last = cluster_of(host_end_) - 1;
    BYRE_TRY(const Page* page, refcounts_.page_of(last, host_end_));
    if (page && refcounts_.load(*page, last) > 0) break;
    const std::uint64_t free_from = page ? last : round_down(last, refcounts_.counts_per_block());
    host_end_ = HostOffset(std::max(free_from, used_end) << geometry_.cluster_bits);
  }
  return host_end_;
}

Outcome<HostOffset> Allocator::trim_end_and_blocks() {
  for (bool released = true; released;) {
    BYRE_CHECK(trim_end());
    BYRE_TRY(released, release_last_block());
  }
  return host_end_;
}

// Whether the last cluster of the file was a block that counted itself only. Nothing names it any more once its table
// entry is durably gone.
Outcome<bool> Allocator::release_last_block() {
  const std::uint64_t last = cluster_of(host_end_) - 1;
  const std::uint64_t index = last / refcounts_.counts_per_block();
  const HostOffset at(last << geometry_.cluster_bits);
  if (index >= refcounts_.table().size()) return false;
  if (refcounts_.table()[index] != format::encode_refcount_table_entry(at)) return false;
  const std::uint64_t first = index * refcounts_.counts_per_block();
  const std::uint64_t end = first + refcounts_.counts_per_block();
  for (std::uint64_t of_page = first; of_page < end; of_page += refcounts_.counts_per_page()) {
    BYRE_TRY(const Page* page, refcounts_.page_of(of_page, host_end_));
    if (!refcounts_.counts_only(*page, of_page, last)) return false;
  }
  BYRE_PROBE("allocator: an empty refcount block goes");
  refcounts_.table().set(index, 0);
  cache_.forget(at, geometry_.cluster_size_bytes());
  guard_.remove(last, 1);
  host_end_ = at;
  return true;
}

Outcome<void> Allocator::grow_table(std::uint64_t table_index) {
  const std::uint64_t per_block = refcounts_.counts_per_block();
  const std::uint64_t per_cluster = geometry_.refcount_table_entries_per_cluster();
  std::uint64_t blocks = 1;
  std::uint64_t clusters = 0;
  for (std::uint64_t before = 0; before != blocks;) {
    before = blocks;
    clusters = ceil_div((table_index + blocks) * 3 / 2, per_cluster);
    blocks = ceil_div(blocks + clusters, per_block);
  }
  if (clusters << geometry_.cluster_bits > format::max_refcount_table_bytes) {
    clusters = format::max_refcount_table_bytes >> geometry_.cluster_bits;
    if (table_index + blocks > clusters * per_cluster || ceil_div(blocks + clusters, per_block) > blocks) {
      return std::unexpected(
          Stop::failed(Error(ErrorCode::no_space,
                             "the image file cannot grow: its refcount table has reached the limit of 8 MiB", ENOSPC)));
    }
  }
  const std::uint64_t first = table_index * per_block;
  for (std::uint64_t i = 0; i < blocks + clusters; ++i) BYRE_CHECK(expect_free(first + i));
  BYRE_PROBE("allocator: the refcount table moves");
  const std::uint64_t old_first = cluster_of(refcounts_.table().offset());
  refcounts_.table().move_to(HostOffset((first + blocks) << geometry_.cluster_bits), clusters * per_cluster);
  host_end_ = std::max(host_end_, HostOffset((first + blocks + clusters) << geometry_.cluster_bits));
  for (std::uint64_t i = 0; i < blocks; ++i) BYRE_CHECK(add_block(table_index + i, first + i));
  claim(first + 1, blocks + clusters - 1);
  guard_.remove(old_first, table_clusters_);
  const auto taken = guard_.add(MetadataKind::refcount_table, first + blocks, clusters);
  BYRE_ASSERT(!taken);
  const std::uint64_t stamp = leases_.stamp_unlink();
  for (std::uint32_t i = 0; i < table_clusters_; ++i) {
    if (life_.unlink(old_first + i)) drops_.add({old_first + i, stamp, false, false});
  }
  table_clusters_ = static_cast<std::uint32_t>(clusters);
  table_moved_ = true;
  next_ = first + blocks + clusters;
  return {};
}

}  // namespace byre::meta
