// The header cluster: fixed fields, extensions, backing name (docs/format.md sections 3 to 5). decode_header() is the
// only place that judges them, in the order of section 3.4: what it returns for reading or writing obeys I-1 to I-9 and
// points at tables that are aligned, within their limits and inside the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "byre/base/units.h"
#include "format/bitmap_directory.h"
#include "format/features.h"
#include "format/geometry.h"

namespace byre::format {

enum class CryptMethod : std::uint32_t { none = 0, aes = 1, luks = 2 };
enum class CompressionType : std::uint8_t { deflate = 0, zstd = 1 };

struct EncryptionPointer {
  HostOffset offset;
  std::uint64_t length_bytes = 0;

  friend bool operator==(const EncryptionPointer&, const EncryptionPointer&) = default;
};

struct UnknownExtension {
  std::uint32_t type = 0;
  std::vector<std::byte> data;

  friend bool operator==(const UnknownExtension&, const UnknownExtension&) = default;
};

// Positions of what may be updated without rewriting the header cluster (section 3.5).
namespace header_field {
inline constexpr std::uint64_t virtual_size = 24;           // 8 bytes
inline constexpr std::uint64_t l1_table = 36;               // 4 bytes entries, 8 bytes offset
inline constexpr std::uint64_t refcount_table = 48;         // 8 bytes offset, 4 bytes clusters
inline constexpr std::uint64_t snapshots = 60;              // 4 bytes count, 8 bytes offset
inline constexpr std::uint64_t incompatible_features = 72;  // 8 bytes, version 3
inline constexpr std::uint64_t autoclear_features = 88;     // 8 bytes, version 3
}  // namespace header_field

inline constexpr std::uint32_t header_length_version_2 = 72;
inline constexpr std::uint32_t unknown_fields_at = 105;  // behind the compression type
inline constexpr std::uint32_t min_header_length_version_3 = 104;
inline constexpr std::uint32_t default_header_length_version_3 = 112;
// Enough for peek_cluster_bits(), whatever the version.
inline constexpr std::size_t header_peek_bytes = min_header_length_version_3;

struct Header {
  unsigned version = 3;
  unsigned cluster_bits = 16;
  std::uint64_t virtual_size_bytes = 0;  // a multiple of 512: decoding rounds down, as other readers do
  CryptMethod crypt_method = CryptMethod::none;
  std::uint32_t l1_entries = 0;
  HostOffset l1_table;
  HostOffset refcount_table;
  std::uint32_t refcount_table_clusters = 0;
  std::uint32_t snapshot_count = 0;
  HostOffset snapshot_table;

  // Version 3; version 2 has the defaults and header_length 72.
  std::uint64_t incompatible_features = 0;
  std::uint64_t compatible_features = 0;
  std::uint64_t autoclear_features = 0;
  unsigned refcount_order = 4;
  std::uint32_t header_length = default_header_length_version_3;
  CompressionType compression_type = CompressionType::deflate;
  std::vector<std::byte> unknown_fields;  // bytes from 105 to header_length, padding included; missing ones are zero

  std::string backing_name;               // empty: no backing file
  std::uint64_t backing_name_offset = 0;  // as read; encoding places the name anew

  std::optional<std::string> backing_format;  // never empty; an empty one on disk is none (H-51)
  std::optional<std::string> data_file_name;  // means something only with incompatible::external_data_file
  std::optional<EncryptionPointer> encryption;
  std::optional<FeatureNameTable> feature_names;
  std::optional<BitmapsExtension> bitmaps;  // means something only with autoclear::bitmaps, else stale
  std::vector<UnknownExtension> unknown_extensions;

  friend bool operator==(const Header&, const Header&) = default;

  Geometry geometry() const;
  bool has_incompatible(std::uint64_t bits) const { return (incompatible_features & bits) != 0; }
  bool is_dirty() const { return has_incompatible(incompatible::dirty); }
  bool is_corrupt() const { return has_incompatible(incompatible::corrupt); }
  bool has_data_file() const { return has_incompatible(incompatible::external_data_file); }
  // The bitmaps that the extension names are consistent with the data.
  bool has_valid_bitmaps() const { return (autoclear_features & autoclear::bitmaps) != 0 && bitmaps.has_value(); }
  // Autoclear bits that a writer must clear before anything else (O-19): unknown ones, the bitmaps bit without its
  // extension (H-48), the raw bit without a data file.
  std::uint64_t autoclear_bits_to_clear() const;
};

// What the caller is about to do. Only these differ:
//   write    additionally refuses the corrupt bit, snapshots beside an external data file, and a raw external data
//            file beside a backing file
//   inspect  follows neither the L1 nor the refcount table, so their places are not judged, only their sizes
//   repair   accepts a refcount table, snapshot table or bitmaps that are missing, misplaced or outside the file
enum class HeaderUse { read, write, inspect, repair };

// True if the first 8 bytes carry the magic and a version of 2 or more. (Version 1 is another format; a version above
// 3 must fail to open rather than pass as raw data.)
bool is_qcow2_magic(ConstBytes first_bytes);

// Checks magic, version and cluster_bits (H-8). Needs 72 bytes for version 2, 104 for version 3.
Result<unsigned> peek_cluster_bits(ConstBytes first_bytes);

// `file_start` holds the first cluster, or the whole file if that is shorter.
Result<Header> decode_header(ConstBytes file_start, std::uint64_t file_size_bytes, HeaderUse use);

// Returns the first cluster's bytes up to the end of the backing name; all bytes behind, up to the cluster's end, are
// zero. The order of extensions is that of section 3.5. Errors: no_space if it exceeds a cluster, invalid_argument if
// a field is out of its limits or does not suit the version.
Result<std::vector<std::byte>> encode_header(const Header& header);

}  // namespace byre::format
