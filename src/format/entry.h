// Entries of the tables that translate addresses: L1, L2 (plain, compressed, extended) and the refcount table
// (docs/format.md sections 6 to 9). Decoding checks everything that the entry and the geometry alone can tell: reserved
// bits, alignment, forbidden combinations (H-21, H-22, H-30, H-31, H-36). Whether an offset lies inside the file or
// upon other metadata is the caller's question. Encoding a decoded entry gives back the same bytes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string_view>

#include "base/endian.h"
#include "byre/base/units.h"
#include "format/geometry.h"

namespace byre::format {

enum class EntryFault : std::uint8_t {
  reserved_bits,                // a bit that must be 0 is set
  unaligned,                    // the offset is not a multiple of the cluster size
  zero_flag_in_version_2,       // version 2 has no zero flag (H-30)
  zero_flag_with_extended_l2,   // bit 0 of the first word must be 0, the bitmap says what is zero
  copied_on_compressed,         // a compressed entry never carries COPIED
  compressed_offset_too_large,  // offset bits above 55, or an offset that the descriptor cannot hold
  compressed_length_invalid,    // 0 bytes, or more sectors than the descriptor can hold (make_compressed_extent only)
  compressed_with_data_file,    // compressed data cannot live in an external data file (H-36)
  subcluster_overlap,           // a subcluster is marked both allocated and zero (H-31)
  subcluster_without_offset,    // a subcluster is marked allocated, but there is no host cluster (H-31)
  second_word_not_zero,         // a compressed entry's bitmap must be 0
  data_file_offset_mismatch,    // with an external data file host and guest offset are equal (H-52)
  flag_with_offset,             // a bitmap table entry has both bit 0 and an offset (H-46)
};
// Says what is wrong, as a phrase that fits behind "L2 entry 0x...: ".
std::string_view describe(EntryFault fault);

// Bits 9..55, which hold a cluster offset in L1, L2 and bitmap table entries.
inline constexpr std::uint64_t entry_offset_mask = 0x00ff'ffff'ffff'fe00;
inline constexpr std::uint64_t entry_copied_flag = std::uint64_t{1} << 63;
inline constexpr std::uint64_t entry_compressed_flag = std::uint64_t{1} << 62;
inline constexpr std::uint64_t entry_zero_flag = 1;

struct L1Entry {
  HostOffset l2_table;  // 0: the whole range is unallocated
  bool copied = false;  // the L2 table's refcount is exactly 1; reliable in the active L1 only

  friend bool operator==(const L1Entry&, const L1Entry&) = default;
};
std::expected<L1Entry, EntryFault> decode_l1_entry(const Geometry& geometry, std::uint64_t raw);
std::uint64_t encode_l1_entry(L1Entry entry);

// The refcount block's offset, 0 for none. Unlike the others it reaches bit 63.
std::expected<HostOffset, EntryFault> decode_refcount_table_entry(const Geometry& geometry, std::uint64_t raw);
std::uint64_t encode_refcount_table_entry(HostOffset refcount_block);

// What an L2 entry says about its cluster as a whole. normal and zero_allocated own a host cluster, the zero kinds
// read as zeros throughout, and compressed owns a byte range. With extended L2 entries "unallocated" and "normal" are
// only about the host cluster (none, or one): some subclusters may differ, so a reader asks subcluster_kind().
enum class ClusterKind : std::uint8_t { unallocated, zero_plain, zero_allocated, normal, compressed };

struct CompressedExtent {
  HostOffset offset;               // of the first byte, any alignment
  std::uint64_t length_bytes = 0;  // A of section 8.1: what a decoder may read; ends on a sector boundary

  friend bool operator==(const CompressedExtent&, const CompressedExtent&) = default;
};
// Makes the extent of a payload: its length is rounded up to the end of its last sector.
// Errors: compressed_offset_too_large, compressed_length_invalid, compressed_with_data_file.
std::expected<CompressedExtent, EntryFault> make_compressed_extent(const Geometry& geometry, HostOffset offset,
                                                                   std::uint64_t payload_bytes);

// Bit i stands for subcluster i. Neither bit: the backing file's content, or zeros.
struct SubclusterBitmap {
  std::uint32_t allocated = 0;
  std::uint32_t zero = 0;

  friend bool operator==(const SubclusterBitmap&, const SubclusterBitmap&) = default;
};
inline constexpr std::uint32_t all_subclusters = 0xffff'ffff;

// The bitmap is filled in without extended L2 entries too (all bits alike), so that one reader serves both.
struct L2Entry {
  ClusterKind kind = ClusterKind::unallocated;
  bool copied = false;          // as stored, also where it means nothing
  HostOffset host;              // the host cluster of normal and zero_allocated (may be 0 in an external data file)
  CompressedExtent compressed;  // of kind compressed
  SubclusterBitmap subclusters;

  static constexpr L2Entry unallocated() { return {}; }
  static constexpr L2Entry zero_plain() { return {ClusterKind::zero_plain, false, {}, {}, {0, all_subclusters}}; }
  static constexpr L2Entry zero_allocated(HostOffset host, bool copied) {
    return {ClusterKind::zero_allocated, copied, host, {}, {0, all_subclusters}};
  }
  static constexpr L2Entry normal(HostOffset host, bool copied) {
    return {ClusterKind::normal, copied, host, {}, {all_subclusters, 0}};
  }
  static constexpr L2Entry from_compressed(CompressedExtent extent) {
    return {ClusterKind::compressed, false, {}, extent, {}};
  }
  // Extended L2 entries: a host cluster whose subclusters differ; kind is zero_allocated if all are zero.
  static constexpr L2Entry with_subclusters(HostOffset host, bool copied, SubclusterBitmap subclusters) {
    return {subclusters.zero == all_subclusters ? ClusterKind::zero_allocated : ClusterKind::normal,
            copied,
            host,
            {},
            subclusters};
  }
  // Extended L2 entries: no host cluster, the given subclusters read as zeros; kind is zero_plain if all do.
  static constexpr L2Entry without_host(std::uint32_t zero_subclusters) {
    return {zero_subclusters == all_subclusters ? ClusterKind::zero_plain : ClusterKind::unallocated,
            false,
            {},
            {},
            {0, zero_subclusters}};
  }

  constexpr bool has_host_cluster() const { return kind == ClusterKind::normal || kind == ClusterKind::zero_allocated; }
  friend bool operator==(const L2Entry&, const L2Entry&) = default;
};

enum class SubclusterKind : std::uint8_t { unallocated, zero, normal, compressed };

// How subcluster `index` (0..31; 0 without extended L2 entries) reads.
inline SubclusterKind subcluster_kind(const L2Entry& entry, unsigned index) {
  if (entry.kind == ClusterKind::compressed) return SubclusterKind::compressed;
  if ((entry.subclusters.zero >> index) & 1) return SubclusterKind::zero;
  return (entry.subclusters.allocated >> index) & 1 ? SubclusterKind::normal : SubclusterKind::unallocated;
}
// The number of subclusters from `index` (0..31) on that are of the same kind, at most 32 - index.
unsigned subcluster_run_length(const L2Entry& entry, unsigned index);

namespace detail {
std::expected<L2Entry, EntryFault> decode_special_l2_entry(const Geometry& geometry, const std::byte* raw);
}

// `raw` holds geometry.l2_entry_bytes() bytes. Inline for what nearly each request meets: a normal cluster.
inline std::expected<L2Entry, EntryFault> decode_l2_entry(const Geometry& geometry, const std::byte* raw) {
  const std::uint64_t word = load_be64(raw);
  const std::uint64_t offset = word & ~entry_copied_flag;
  const bool plain = offset != 0 && (offset & (~entry_offset_mask | geometry.cluster_mask())) == 0;
  if (plain && !geometry.extended_l2) [[likely]] {
    return L2Entry::normal(HostOffset(offset), (word & entry_copied_flag) != 0);
  }
  return detail::decode_special_l2_entry(geometry, raw);
}
// Whether an entry that is not compressed has the zero flag, in a table of entries of 8 bytes (section 7.2). Looks at
// nothing else, and at many entries at once.
bool any_zero_flag(std::span<const std::byte> table);
// Asserts what decoding would refuse: the engine never builds such an entry.
void encode_l2_entry(const Geometry& geometry, const L2Entry& entry, std::byte* raw);
// The same as a number, without extended L2 entries.
inline std::uint64_t encode_l2_word(const Geometry& geometry, const L2Entry& entry) {
  std::byte raw[8];
  encode_l2_entry(geometry, entry, raw);
  return load_be64(raw);
}

// H-52, I-31: with an external data file, a host cluster lies at its guest offset. True for any other entry.
inline bool obeys_identity_mapping(const L2Entry& entry, GuestOffset cluster) {
  return !entry.has_host_cluster() || entry.host.bytes == cluster.bytes;
}

}  // namespace byre::format
