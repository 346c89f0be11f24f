// The synchronous heart of an open image: what is where, what is free, what changes, and what a cut writes. It never
// waits and does no I/O: the data path loads what it misses, does the I/O it decides on, and tells it when that ended.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/math.h"
#include "byre/base/result.h"
#include "format/geometry.h"
#include "meta/allocator.h"
#include "meta/cluster_life.h"
#include "meta/drops.h"
#include "meta/leases.h"
#include "meta/mapping.h"
#include "meta/outcome.h"
#include "meta/overlap_guard.h"
#include "meta/packer.h"
#include "meta/page_cache.h"
#include "meta/refcounts.h"
#include "meta/reservation.h"
#include "meta/resident_table.h"
#include "meta/write_back.h"

namespace byre::meta {

// Where contiguous metadata lies, as the header names it.
struct MetadataRegion {
  MetadataKind kind;
  HostOffset at;
  std::uint64_t length_bytes;
};

// What an image brings to its opening. Tables are in host byte order and validated by format/.
struct MetadataParts {
  format::Geometry geometry;
  bool has_backing = false;
  bool writable = false;
  std::uint64_t file_size_bytes = 0;
  std::size_t cache_size_bytes = 0;
  ResidentTable l1;
  ResidentTable refcount_table;
  std::uint32_t refcount_table_clusters = 0;
  std::vector<MetadataRegion> regions;  // header, L1, refcount table, snapshots, bitmaps, encryption
  std::vector<HostOffset> bitmap_data;  // clusters; a doubly used one stays what else it is
};

// A stretch of guest bytes for a write. In place: overwrite from `host` on. Otherwise it must be reserved.
struct WriteTarget {
  std::uint64_t length_bytes = 0;
  bool in_place = false;
  HostOffset host;
};

enum class Clear {
  zero_keep,   // reads as zeros, host clusters stay reserved
  zero_unmap,  // reads as zeros, host clusters are given back
  discard,     // host clusters are given back; never re-exposes backing data
  forget,      // the same, and the entry is empty again: for what lies behind the end of the disk
};

class Metadata {
 public:
  // Fails if the image may not be written because its metadata overlaps (H-26, H-27, H-29); read-only opens skip that.
  static Result<std::unique_ptr<Metadata>> create(MetadataParts parts);

  const format::Geometry& geometry() const { return geometry_; }
  HostOffset host_end() const { return allocator_.host_end(); }

  // Held from before a lookup or reservation until the I/O that follows from it has ended.
  Lease lease() { return leases_.begin(); }

  Outcome<MappedExtent> lookup(GuestOffset at, std::uint64_t max_length_bytes) {
    return mapping_.lookup(at, max_length_bytes, host_end());
  }

  // The count behind COPIED is verified, and that no metadata lies there (H-23, H-24).
  Outcome<WriteTarget> write_target(GuestOffset at, std::uint64_t max_length_bytes);

  // Reserves host clusters for whole guest clusters, `first` cluster-aligned, `clusters` at most
  // max_reserved_clusters(). The caller holds the guest range exclusively until the reservation ends.
  Outcome<Reservation> reserve(GuestOffset first, std::uint64_t clusters);
  std::uint64_t max_reserved_clusters() const;

  // Reserves one cluster for a guest cluster that must be unallocated or plain zero.
  Outcome<Reservation> reserve_unallocated(GuestOffset cluster);

  // Reserves `payload_bytes` (below the cluster size) for one guest cluster that must be unallocated or plain zero.
  Outcome<Reservation> reserve_compressed(GuestOffset cluster, std::uint64_t payload_bytes);

  // Clears whole clusters from `first` on as far as one step goes; returns how many (at least 1). The caller holds the
  // guest range exclusively. With `punch`, freed host space will be given back. Version 2 with a backing file has no
  // way to do it: can_clear() is false, and the caller must write zeros or do nothing.
  Outcome<std::uint64_t> clear(GuestOffset first, std::uint64_t clusters, Clear mode, bool punch);
  bool can_clear() const { return geometry_.version >= 3 || !has_backing_; }

  // Resizing (resize.cc). The caller has the image to itself.
  // Makes the L1 table long enough for `entries`, at another place if need be (O-7).
  Outcome<void> grow_l1(std::uint64_t entries);
  std::uint64_t l1_entries() const { return mapping_.l1().size(); }
  HostOffset l1_offset() const { return mapping_.l1().offset(); }
  // Gives up all that an L1 entry leads to, its table included. The entry must lie behind the end of the disk.
  Outcome<void> release_table(std::uint64_t l1_index, bool punch);
  // Where the file may end, once nothing is dirty and no release is pending.
  Outcome<HostOffset> trim_end() { return allocator_.trim_end(); }
  // Where it may end without the refcount blocks that count nothing, once what that made dirty is durable.
  Outcome<HostOffset> trim_end_and_blocks() { return allocator_.trim_end_and_blocks(); }
  // The file is this long after all, so what lies below does not read as zeros.
  void note_file_end(std::uint64_t size_bytes) {
    allocator_.note_file_end(HostOffset(round_up(size_bytes, geometry_.cluster_size_bytes())));
  }

  // For operations that change the file past the cache and load everything anew (data/qcow2_exclusive.cc).
  const std::vector<std::uint64_t>& l1() const { return mapping_.l1().entries(); }
  const std::vector<std::uint64_t>& refcount_table() const { return refcounts_.table().entries(); }
  // Consecutive clusters with a count of 1 to which nothing refers yet.
  Outcome<HostOffset> allocate_region(std::uint64_t clusters) { return allocator_.allocate_table(clusters); }
  // Gives up such a cluster again, if it is counted.
  Outcome<void> give_back(HostOffset cluster);

  // Pages. `present` lets the loader skip what came meanwhile.
  bool present(HostOffset at) { return cache_.find(at) != nullptr; }
  void page_loaded(HostOffset at, PageKind kind, ConstBytes bytes);
  std::size_t page_size_bytes() const { return cache_.page_size_bytes(); }
  PageCache& cache() { return cache_; }

  // Write-back. One cut at a time; finish_cut() with durable false leaves everything to the next cut. A cut of the
  // mapping alone becomes one of everything where refcounts cannot wait: they fill the cache, or their table moved.
  bool wants_write_back() const;
  bool dirty() const;
  Cut begin_cut(CutScope scope);
  void finish_cut(const Cut& cut, bool durable);

  // Subtracts references whose unlink is durable and quiet. Returns a run to punch, after which the caller calls
  // finish_punch(), or nothing when there is no more to do now.
  Outcome<std::optional<HostRun>> release_quiet();
  Outcome<void> finish_punch(HostRun& run);
  bool releases_pending() const { return !drops_.empty(); }

  // Set when a decision that could not fail met a damaged structure: the image must stop (docs/format.md section 16).
  const std::optional<Error>& damage() const { return damage_; }

 private:
  friend class Reservation;
  explicit Metadata(MetadataParts parts);

  Result<void> register_metadata(const std::vector<MetadataRegion>& regions);
  void register_bitmap_data(const std::vector<HostOffset>& clusters);
  Outcome<void> check_sole_owner(std::uint64_t cluster, GuestOffset at);
  Outcome<void> ensure_tables(GuestOffset first, std::uint64_t clusters);
  Outcome<void> ensure_table(std::uint64_t l1_index);
  Outcome<void> pin_table_pages(HostOffset table, std::vector<PagePin>& pins);
  void new_table(HostOffset table, HostOffset copy_from);
  Outcome<std::uint64_t> pin_entries(Reservation& reservation, GuestOffset at, std::uint64_t clusters);
  Outcome<void> check_unallocated(GuestOffset cluster);
  Outcome<void> check_replaceable(const format::L2Entry& entry, GuestOffset at);
  Outcome<std::uint64_t> place_run(Reservation& reservation, GuestOffset at, std::uint64_t clusters);
  struct Reusable {
    std::uint64_t clusters_before;
    HostOffset host;
  };
  Outcome<Reusable> next_reusable(GuestOffset at, std::uint64_t clusters);
  EntryRun pinned_entries(GuestOffset at, std::uint64_t clusters);
  std::uint64_t link(const PlacedRun& run, std::uint64_t from, std::uint64_t stamp);
  format::L2Entry cleared(const format::L2Entry& entry, Clear mode) const;
  void commit(Reservation& reservation);
  void abort(Reservation& reservation);
  void note_link(const PlacedRun& run, std::uint64_t index, const Outcome<format::L2Entry>& old);
  void unlink(const format::L2Entry& entry, std::uint64_t stamp, bool punch);
  void drop(std::uint64_t cluster, std::uint64_t stamp, bool punch, bool table);
  Outcome<bool> subtract(const Drop& drop);
  bool counts_must_be_written() const;
  void cut_pages(Cut& cut);
  void cut_refcount_table(Cut& cut);
  void cut_l1(Cut& cut);
  void give_back_early();
  void set_free(Page& page, std::uint64_t cluster);
  void note_damage(std::string message);
  Outcome<std::vector<format::L2Entry>> table_entries(std::uint64_t l1_index);
  GuestOffset guest_after(GuestOffset at, std::uint64_t clusters) const {
    return at + (clusters << geometry_.cluster_bits);
  }
  std::uint64_t cluster_of(HostOffset at) const { return at.bytes >> geometry_.cluster_bits; }
  HostOffset host_at(std::uint64_t cluster) const { return HostOffset(cluster << geometry_.cluster_bits); }

  const format::Geometry geometry_;
  const bool has_backing_;
  PageCache cache_;
  Refcounts refcounts_;
  Mapping mapping_;
  OverlapGuard guard_;
  ClusterLife life_;
  LeaseBook leases_;
  DropQueue drops_;
  Allocator allocator_;
  Packer packer_;
  bool l1_moved_ = false;  // the header must follow (12 bytes at offset 36)
  Links links_made_;       // since the last cut
  std::optional<Error> damage_;
};

}  // namespace byre::meta
