// The arithmetic of one image: sizes and index splits (docs/format.md section 1). A small value, cheap to copy.
#pragma once

#include <cstdint>

#include "base/math.h"
#include "byre/base/units.h"
#include "format/limits.h"

namespace byre::format {

// The caller guarantees what header decoding checked: cluster_bits in 9..21, refcount_order in 0..6, extended_l2 only
// with cluster_bits >= 14. No function here can overflow for offsets below 2^63.
struct Geometry {
  unsigned version = 3;
  unsigned cluster_bits = 16;
  unsigned refcount_order = 4;
  bool extended_l2 = false;
  bool external_data_file = false;

  friend bool operator==(const Geometry&, const Geometry&) = default;

  // Clusters.
  constexpr std::uint64_t cluster_size_bytes() const { return std::uint64_t{1} << cluster_bits; }
  constexpr std::uint64_t cluster_mask() const { return cluster_size_bytes() - 1; }
  constexpr std::uint64_t clusters_for(std::uint64_t size_bytes) const {
    return (size_bytes >> cluster_bits) + ((size_bytes & cluster_mask()) != 0);
  }
  constexpr bool is_cluster_aligned(std::uint64_t offset_bytes) const { return (offset_bytes & cluster_mask()) == 0; }
  constexpr std::uint64_t cluster_offset_in(GuestOffset at) const { return at.bytes & cluster_mask(); }
  constexpr std::uint64_t cluster_offset_in(HostOffset at) const { return at.bytes & cluster_mask(); }
  constexpr GuestOffset cluster_start(GuestOffset at) const { return GuestOffset(at.bytes & ~cluster_mask()); }
  constexpr HostOffset cluster_start(HostOffset at) const { return HostOffset(at.bytes & ~cluster_mask()); }
  constexpr std::uint64_t cluster_index(GuestOffset at) const { return at.bytes >> cluster_bits; }
  constexpr std::uint64_t cluster_index(HostOffset at) const { return at.bytes >> cluster_bits; }
  constexpr HostOffset host_cluster(std::uint64_t index) const { return HostOffset(index << cluster_bits); }

  // Mapping tables.
  constexpr unsigned l2_entry_bits() const { return extended_l2 ? 4 : 3; }  // log2 of l2_entry_bytes()
  constexpr std::uint64_t l2_entry_bytes() const { return std::uint64_t{1} << l2_entry_bits(); }
  constexpr unsigned l2_bits() const { return cluster_bits - l2_entry_bits(); }  // log2 of l2_entries()
  constexpr std::uint64_t l2_entries() const { return std::uint64_t{1} << l2_bits(); }
  constexpr std::uint64_t guest_bytes_per_l2() const { return std::uint64_t{1} << (cluster_bits + l2_bits()); }
  constexpr std::uint64_t l1_index(GuestOffset at) const { return at.bytes >> (cluster_bits + l2_bits()); }
  constexpr std::uint64_t l2_index(GuestOffset at) const { return cluster_index(at) & (l2_entries() - 1); }
  constexpr GuestOffset guest_offset(std::uint64_t l1_index, std::uint64_t l2_index) const {
    return GuestOffset((l1_index << (cluster_bits + l2_bits())) | (l2_index << cluster_bits));
  }
  // L1min: entries needed for a disk of that size, and the first L1 index of the VM-state area (section 14.2).
  constexpr std::uint64_t required_l1_entries(std::uint64_t virtual_size_bytes) const {
    return ceil_div(virtual_size_bytes, guest_bytes_per_l2());
  }
  constexpr GuestOffset vm_state_start(std::uint64_t virtual_size_bytes) const {
    return guest_offset(required_l1_entries(virtual_size_bytes), 0);
  }

  // Subclusters: 32 per cluster with extended L2 entries, else the cluster is its only one.
  constexpr unsigned subcluster_bits() const { return extended_l2 ? cluster_bits - 5 : cluster_bits; }
  constexpr std::uint64_t subcluster_size_bytes() const { return std::uint64_t{1} << subcluster_bits(); }
  constexpr unsigned subclusters_per_cluster() const { return extended_l2 ? 32 : 1; }
  constexpr unsigned subcluster_index(GuestOffset at) const {
    return static_cast<unsigned>(cluster_offset_in(at) >> subcluster_bits());
  }

  // Reference counts.
  constexpr unsigned refcount_bits() const { return 1u << refcount_order; }
  constexpr unsigned refcount_block_bits() const { return cluster_bits + 3 - refcount_order; }
  constexpr std::uint64_t refcounts_per_block() const { return std::uint64_t{1} << refcount_block_bits(); }
  constexpr std::uint64_t refcount_table_entries_per_cluster() const { return cluster_size_bytes() / 8; }
  constexpr std::uint64_t host_bytes_per_refcount_block() const { return refcounts_per_block() << cluster_bits; }
  constexpr std::uint64_t refcount_table_index(std::uint64_t cluster) const { return cluster >> refcount_block_bits(); }
  constexpr std::uint64_t refcount_table_index(HostOffset at) const { return refcount_table_index(cluster_index(at)); }
  constexpr std::uint64_t refcount_block_index(std::uint64_t cluster) const {
    return cluster & (refcounts_per_block() - 1);
  }
  constexpr std::uint64_t refcount_block_index(HostOffset at) const { return refcount_block_index(cluster_index(at)); }

  // Compressed descriptors (section 8.1): x, the number of offset bits; n fills the bits from x to 61.
  constexpr unsigned compressed_offset_bits() const { return 70 - cluster_bits; }
  constexpr std::uint64_t max_compressed_sectors() const { return std::uint64_t{1} << (cluster_bits - 8); }
  // Exclusive limit of a compressed extent's first byte.
  constexpr std::uint64_t compressed_offset_limit() const {
    const unsigned bits = compressed_offset_bits();
    return std::uint64_t{1} << (bits < max_host_offset_bits ? bits : max_host_offset_bits);
  }
};

}  // namespace byre::format
