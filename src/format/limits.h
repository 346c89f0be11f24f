// Every limit of the format that the engine enforces, by name (docs/format.md section 21). Values are inclusive maxima
// unless said.
#pragma once

#include <cstdint>

namespace byre::format {

inline constexpr std::uint64_t kibibyte = 1024;
inline constexpr std::uint64_t mebibyte = 1024 * kibibyte;

inline constexpr unsigned min_cluster_bits = 9;
inline constexpr unsigned max_cluster_bits = 21;
inline constexpr unsigned min_cluster_bits_extended_l2 = 14;  // I-6: a subcluster has at least 512 bytes
inline constexpr unsigned max_refcount_order = 6;
inline constexpr unsigned version_2_refcount_order = 4;

inline constexpr std::uint64_t sector_bytes = 512;  // unit of virtual sizes and of compressed lengths
inline constexpr std::uint64_t max_virtual_size_bytes = std::uint64_t{1} << 61;  // 32 MiB of L1 at 2 MiB clusters

inline constexpr std::uint64_t max_l1_bytes = 32 * mebibyte;
inline constexpr std::uint64_t max_l1_entries = max_l1_bytes / 8;
inline constexpr std::uint64_t max_refcount_table_bytes = 8 * mebibyte;
inline constexpr std::uint64_t max_refcount_table_entries = max_refcount_table_bytes / 8;

// Exclusive: host offsets of L2 tables, data and bitmap clusters end at bit 55.
inline constexpr std::uint64_t max_host_offset = std::uint64_t{1} << 56;
inline constexpr unsigned max_host_offset_bits = 56;
// Largest position a file can have; header fields that go beyond it are refused (H-13).
inline constexpr std::uint64_t max_file_offset = (std::uint64_t{1} << 63) - 1;

inline constexpr std::uint64_t max_backing_name_bytes = 1023;
inline constexpr std::uint64_t max_backing_format_bytes = 15;
inline constexpr unsigned max_header_extensions = 64;  // known and unknown together (H-37)

inline constexpr std::uint64_t max_snapshots = 65536;
inline constexpr std::uint64_t max_snapshot_table_bytes = 64 * mebibyte;
inline constexpr std::uint64_t max_snapshot_extra_data_bytes = 1024;
inline constexpr std::uint64_t max_snapshot_text_bytes = 65535;    // of an id, and of a name
inline constexpr std::uint64_t max_new_snapshot_name_bytes = 255;  // what the reference shows

inline constexpr std::uint64_t max_bitmaps = 65535;
inline constexpr std::uint64_t max_bitmap_directory_bytes = 67107840;
inline constexpr std::uint64_t max_bitmap_name_bytes = 1023;
inline constexpr unsigned min_bitmap_granularity_bits = 9;
inline constexpr unsigned max_bitmap_granularity_bits = 31;
inline constexpr std::uint64_t max_bitmap_table_entries = std::uint64_t{1} << 27;
inline constexpr std::uint64_t max_bitmap_data_bytes = 512 * mebibyte;
// Not the format's: what an opening is willing to read (H-4). Bitmaps of 64 GiB at 64 KiB clusters.
inline constexpr std::uint64_t max_bitmap_table_entries_together = std::uint64_t{1} << 20;

}  // namespace byre::format
