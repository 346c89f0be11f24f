// The guest-to-host mapping: the resident L1 table and L2 pages (docs/format.md section 7).
#pragma once

#include <cstdint>

#include "base/endian.h"
#include "byre/base/units.h"
#include "format/entry.h"
#include "format/geometry.h"
#include "meta/outcome.h"
#include "meta/page_cache.h"
#include "meta/resident_table.h"

namespace byre::meta {

// A guest range whose bytes come from one place. `kind` normal: host bytes from `host` on, consecutive. compressed: one
// cluster, of which the range is a part; `host` is unused. Others: no host bytes are read (zero_allocated keeps its
// clusters from `host` on).
struct MappedExtent {
  GuestOffset guest;
  std::uint64_t length_bytes = 0;
  format::ClusterKind kind = format::ClusterKind::unallocated;
  bool copied = false;  // all clusters of the extent carry COPIED
  HostOffset host;
  format::CompressedExtent compressed;
};

// Where one L2 entry is: valid until the page may leave the cache.
struct EntrySlot {
  Page* page = nullptr;
  std::byte* raw = nullptr;
};

// Consecutive L2 entries of one page, at least one: found once, then reached without another search.
struct EntryRun {
  EntrySlot first;
  std::uint64_t count = 0;
  std::uint64_t entry_bytes = 0;

  EntrySlot operator[](std::uint64_t index) const { return {first.page, first.raw + index * entry_bytes}; }
  // Unallocated, told without decoding: what a new disk has millions of.
  bool is_empty(std::uint64_t index) const {
    const std::byte* raw = first.raw + index * entry_bytes;
    return load_be64(raw) == 0 && (entry_bytes == 8 || load_be64(raw + 8) == 0);
  }
};

class Mapping {
 public:
  Mapping(const format::Geometry& geometry, PageCache& cache, ResidentTable l1)
      : geometry_(geometry), cache_(cache), l1_(std::move(l1)) {}

  // The longest extent that starts at `at`, at most `max_length_bytes` (above 0) long, as far as cached pages tell.
  // `host_end` bounds every pointer (H-20, H-33). Entries are validated as they are read.
  Outcome<MappedExtent> lookup(GuestOffset at, std::uint64_t max_length_bytes, HostOffset host_end);

  // The entries of the cluster that holds `at` and of those behind it, at most `clusters` and as far as its page goes,
  // in its table, which exists. Where the page is missing, those that `clusters` will need are asked for together.
  Outcome<EntryRun> entries(GuestOffset at, std::uint64_t clusters, HostOffset host_end);
  Outcome<format::L2Entry> decode(const EntrySlot& slot, GuestOffset at) const;
  void store(const EntrySlot& slot, const format::L2Entry& entry);

  Outcome<format::L1Entry> l1_entry(std::uint64_t index, HostOffset host_end) const;

  ResidentTable& l1() { return l1_; }
  const ResidentTable& l1() const { return l1_; }

 private:
  MappedExtent unallocated_run(GuestOffset at, std::uint64_t max_length_bytes) const;
  MappedExtent subcluster_extent(const format::L2Entry& entry, GuestOffset at, std::uint64_t max_length_bytes) const;
  // How many entries of the run, from the first on, are its first word, moved on by one cluster each if they point to
  // the file, and point inside it. At least 1.
  std::uint64_t count_alike(const EntryRun& run, const format::L2Entry& first, HostOffset host_end) const;
  bool continues(const MappedExtent& extent, const format::L2Entry& first, const format::L2Entry& next,
                 std::uint64_t clusters) const;
  Outcome<void> check_pointer(const format::L2Entry& entry, GuestOffset at, HostOffset host_end) const;

  const format::Geometry& geometry_;
  PageCache& cache_;
  ResidentTable l1_;
};

}  // namespace byre::meta
