// Persistent bitmaps on disk: the header extension, the directory and the bitmap tables (docs/format.md section 15).
// Directories are refused whole if anything in them breaks a limit (H-45); what a single bitmap may then be used for
// (in_use, table length, unknown extra data: H-46) is the caller's decision.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "byre/base/units.h"
#include "format/entry.h"
#include "format/geometry.h"

namespace byre::format {

// As stored; meaningful only while autoclear bit 0 is set, and only then checked.
struct BitmapsExtension {
  std::uint32_t count = 0;
  std::uint32_t reserved = 0;
  std::uint64_t directory_bytes = 0;
  HostOffset directory;

  friend bool operator==(const BitmapsExtension&, const BitmapsExtension&) = default;
};
inline constexpr std::size_t bitmaps_extension_bytes = 24;

// Checks the length of the data only.
Result<BitmapsExtension> decode_bitmaps_extension(ConstBytes data);
std::vector<std::byte> encode_bitmaps_extension(const BitmapsExtension& extension);
// Count 1..65535, reserved 0, directory aligned, non-zero, within its limit and within the file.
Result<> check_bitmaps_extension(const BitmapsExtension& extension, const Geometry& geometry,
                                 std::uint64_t file_size_bytes);

struct BitmapEntry {
  HostOffset table;
  std::uint32_t table_entries = 0;
  bool in_use = false;                 // somebody's live copy is newer, or died: inconsistent on open
  bool auto_record = false;            // records from the first write of each session
  bool extra_data_compatible = false;  // unknown extra data does not hinder use
  unsigned granularity_bits = 16;
  std::string name;  // 1..1023 bytes of anything
  std::vector<std::byte> extra_data;

  friend bool operator==(const BitmapEntry&, const BitmapEntry&) = default;
};

// `directory` is the whole directory, extension.directory_bytes long. The entries fill it exactly.
Result<std::vector<BitmapEntry>> decode_bitmap_directory(ConstBytes directory, const BitmapsExtension& extension,
                                                         const Geometry& geometry, std::uint64_t file_size_bytes);
// Errors: a limit of section 21 would be exceeded, or names repeat.
Result<std::vector<std::byte>> encode_bitmap_directory(const std::vector<BitmapEntry>& entries,
                                                       const Geometry& geometry);

// Table entries that a consistent bitmap has: one per cluster of bitmap data, 0 for a disk of size 0.
std::uint64_t required_bitmap_table_entries(const Geometry& geometry, std::uint64_t virtual_size_bytes,
                                            unsigned granularity_bits);

// H-46: a bitmap that is not in use has exactly the required entries.
Result<> check_bitmap_table_length(const BitmapEntry& entry, const Geometry& geometry,
                                   std::uint64_t virtual_size_bytes);

struct BitmapTableEntry {
  HostOffset data;        // 0: no data cluster, all bits equal all_ones
  bool all_ones = false;  // only without a data cluster

  friend bool operator==(const BitmapTableEntry&, const BitmapTableEntry&) = default;
};
std::expected<BitmapTableEntry, EntryFault> decode_bitmap_table_entry(const Geometry& geometry, std::uint64_t raw);
std::uint64_t encode_bitmap_table_entry(BitmapTableEntry entry);

}  // namespace byre::format
