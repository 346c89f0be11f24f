// The directory is walked like the snapshot table, but its length is known, and the entries must fill it exactly. All
// lengths are judged against what remains before anything is copied.
#include "format/bitmap_directory.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "base/endian.h"
#include "base/text.h"
#include "byre/base/assert.h"
#include "format/region.h"

namespace byre::format {
namespace {

constexpr std::uint64_t entry_fixed_bytes = 24;
constexpr std::uint32_t flag_in_use = 1;
constexpr std::uint32_t flag_auto = 2;
constexpr std::uint32_t flag_extra_data_compatible = 4;
constexpr std::uint32_t known_flags = flag_in_use | flag_auto | flag_extra_data_compatible;
constexpr unsigned type_dirty_tracking = 1;
constexpr std::uint64_t table_entry_reserved_bits = ~(entry_offset_mask | entry_zero_flag);

std::uint64_t entry_bytes(const BitmapEntry& entry) {
  return round_up(entry_fixed_bytes + entry.extra_data.size() + entry.name.size(), 8);
}

Result<> check_name(const std::string& name) {
  if (name.empty() || name.size() > max_bitmap_name_bytes) {
    return fail(ErrorCode::corrupt, "a bitmap's name has {} bytes, it must have 1 to {}", name.size(),
                max_bitmap_name_bytes);
  }
  return {};
}

Result<> check_numbers(const BitmapEntry& entry, const Geometry& geometry) {
  const std::string name = escape_untrusted(entry.name);
  if (entry.granularity_bits < min_bitmap_granularity_bits || entry.granularity_bits > max_bitmap_granularity_bits) {
    return fail(ErrorCode::corrupt, "bitmap '{}': granularity 2^{} is not 2^{} to 2^{}", name, entry.granularity_bits,
                min_bitmap_granularity_bits, max_bitmap_granularity_bits);
  }
  const std::uint64_t limit = std::min(max_bitmap_table_entries, max_bitmap_data_bytes >> geometry.cluster_bits);
  if (entry.table_entries == 0 || entry.table_entries > limit) {
    return fail(ErrorCode::corrupt, "bitmap '{}': {} table entries are not 1 to {}", name, entry.table_entries, limit);
  }
  return {};
}

// `flags` and `type` have no room in BitmapEntry for bad values.
Result<> check_flags_and_type(std::string_view name, std::uint32_t flags, unsigned type) {
  if ((flags & ~known_flags) != 0) {
    return fail(ErrorCode::corrupt, "bitmap '{}': unknown flags {:#x}", escape_untrusted(name), flags & ~known_flags);
  }
  if (type != type_dirty_tracking) {
    return fail(ErrorCode::corrupt, "bitmap '{}': type {} is not dirty tracking (1)", escape_untrusted(name), type);
  }
  return {};
}

// Takes one entry off the front of `rest`.
Result<BitmapEntry> take_entry(ConstBytes& rest) {
  if (rest.size() < entry_fixed_bytes) {
    return fail(ErrorCode::corrupt, "the bitmap directory ends inside an entry");
  }
  const std::byte* at = rest.data();
  const std::uint64_t name_bytes = load_be16(at + 18);
  const std::uint64_t extra_bytes = load_be32(at + 20);
  const std::uint64_t length = round_up(entry_fixed_bytes + extra_bytes + name_bytes, 8);
  if (length > rest.size()) {
    return fail(ErrorCode::corrupt, "a bitmap directory entry has {} bytes, but only {} remain", length, rest.size());
  }
  BitmapEntry entry;
  entry.table = HostOffset(load_be64(at));
  entry.table_entries = load_be32(at + 8);
  const std::uint32_t flags = load_be32(at + 12);
  entry.in_use = (flags & flag_in_use) != 0;
  entry.auto_record = (flags & flag_auto) != 0;
  entry.extra_data_compatible = (flags & flag_extra_data_compatible) != 0;
  entry.granularity_bits = static_cast<unsigned>(at[17]);
  entry.extra_data.assign(at + entry_fixed_bytes, at + entry_fixed_bytes + extra_bytes);
  entry.name.assign(reinterpret_cast<const char*>(at + entry_fixed_bytes + extra_bytes), name_bytes);
  BYRE_CHECK(check_flags_and_type(entry.name, flags, static_cast<unsigned>(at[16])));
  rest = rest.subspan(length);
  return entry;
}

Result<> check_names_unique(const std::vector<BitmapEntry>& entries) {
  std::set<std::string_view> names;
  for (const BitmapEntry& entry : entries) {
    if (!names.insert(entry.name).second) {
      return fail(ErrorCode::corrupt, "two bitmaps are named '{}'", escape_untrusted(entry.name));
    }
  }
  return {};
}

void encode_entry(const BitmapEntry& entry, std::byte* to) {
  store_be64(to, entry.table.bytes);
  store_be32(to + 8, entry.table_entries);
  store_be32(to + 12, (entry.in_use ? flag_in_use : 0) | (entry.auto_record ? flag_auto : 0) |
                          (entry.extra_data_compatible ? flag_extra_data_compatible : 0));
  to[16] = static_cast<std::byte>(type_dirty_tracking);
  to[17] = static_cast<std::byte>(entry.granularity_bits);
  store_be16(to + 18, static_cast<std::uint16_t>(entry.name.size()));
  store_be32(to + 20, static_cast<std::uint32_t>(entry.extra_data.size()));
  to = std::copy(entry.extra_data.begin(), entry.extra_data.end(), to + entry_fixed_bytes);
  const auto name = std::as_bytes(std::span(entry.name));
  std::copy(name.begin(), name.end(), to);
}

}  // namespace

Result<BitmapsExtension> decode_bitmaps_extension(ConstBytes data) {
  if (data.size() != bitmaps_extension_bytes) {
    return fail(ErrorCode::corrupt, "the bitmaps extension has {} bytes instead of {}", data.size(),
                bitmaps_extension_bytes);
  }
  return BitmapsExtension{load_be32(data.data()), load_be32(data.data() + 4), load_be64(data.data() + 8),
                          HostOffset(load_be64(data.data() + 16))};
}

std::vector<std::byte> encode_bitmaps_extension(const BitmapsExtension& extension) {
  std::vector<std::byte> data(bitmaps_extension_bytes);
  store_be32(data.data(), extension.count);
  store_be32(data.data() + 4, extension.reserved);
  store_be64(data.data() + 8, extension.directory_bytes);
  store_be64(data.data() + 16, extension.directory.bytes);
  return data;
}

Result<> check_bitmaps_extension(const BitmapsExtension& extension, const Geometry& geometry,
                                 std::uint64_t file_size_bytes) {
  if (extension.count == 0 || extension.count > max_bitmaps) {
    return fail(ErrorCode::corrupt, "{} bitmaps are not 1 to {}", extension.count, max_bitmaps);
  }
  if (extension.reserved != 0) {
    return fail(ErrorCode::corrupt, "the bitmaps extension has {:#x} in a reserved field", extension.reserved);
  }
  if (extension.directory_bytes == 0 || extension.directory_bytes > max_bitmap_directory_bytes) {
    return fail(ErrorCode::corrupt, "the bitmap directory has {} bytes, it must have 1 to {}",
                extension.directory_bytes, max_bitmap_directory_bytes);
  }
  return check_table_region("bitmap directory", extension.directory, extension.directory_bytes, geometry,
                            file_size_bytes);
}

Result<std::vector<BitmapEntry>> decode_bitmap_directory(ConstBytes directory, const BitmapsExtension& extension,
                                                         const Geometry& geometry, std::uint64_t file_size_bytes) {
  BYRE_ASSERT(directory.size() == extension.directory_bytes);
  std::vector<BitmapEntry> entries;
  ConstBytes rest = directory;
  for (std::uint32_t index = 0; index < extension.count; ++index) {
    BYRE_TRY(BitmapEntry entry, take_entry(rest));
    BYRE_CHECK(check_name(entry.name));
    BYRE_CHECK(check_numbers(entry, geometry));
    BYRE_CHECK(check_table_region("bitmap table", entry.table, std::uint64_t{entry.table_entries} * 8, geometry,
                                  file_size_bytes));
    entries.push_back(std::move(entry));
  }
  if (!rest.empty()) {
    return fail(ErrorCode::corrupt, "{} bytes follow the {} entries of the bitmap directory", rest.size(),
                extension.count);
  }
  BYRE_CHECK(check_names_unique(entries));
  return entries;
}

Result<std::vector<std::byte>> encode_bitmap_directory(const std::vector<BitmapEntry>& entries,
                                                       const Geometry& geometry) {
  if (entries.size() > max_bitmaps) {
    return fail(ErrorCode::no_space, "{} bitmaps, above the limit of {}", entries.size(), max_bitmaps);
  }
  std::uint64_t size_bytes = 0;
  for (const BitmapEntry& entry : entries) {
    BYRE_CHECK(check_name(entry.name));
    BYRE_CHECK(check_numbers(entry, geometry));
    size_bytes += entry_bytes(entry);
  }
  BYRE_CHECK(check_names_unique(entries));
  if (size_bytes > max_bitmap_directory_bytes) {
    return fail(ErrorCode::no_space, "the bitmap directory needs {} bytes, above the limit of {}", size_bytes,
                max_bitmap_directory_bytes);
  }
  std::vector<std::byte> directory(size_bytes);
  std::byte* at = directory.data();
  for (const BitmapEntry& entry : entries) {
    encode_entry(entry, at);
    at += entry_bytes(entry);
  }
  return directory;
}

std::uint64_t required_bitmap_table_entries(const Geometry& geometry, std::uint64_t virtual_size_bytes,
                                            unsigned granularity_bits) {
  const std::uint64_t bits = ceil_div(virtual_size_bytes, std::uint64_t{1} << granularity_bits);
  return geometry.clusters_for(ceil_div(bits, 8));
}

Result<> check_bitmap_table_length(const BitmapEntry& entry, const Geometry& geometry,
                                   std::uint64_t virtual_size_bytes) {
  const std::uint64_t required = required_bitmap_table_entries(geometry, virtual_size_bytes, entry.granularity_bits);
  if (entry.in_use || entry.table_entries == required) return {};
  return fail(ErrorCode::corrupt, "bitmap '{}': its table has {} entries, a disk of {} bytes needs {}",
              escape_untrusted(entry.name), entry.table_entries, virtual_size_bytes, required);
}

std::expected<BitmapTableEntry, EntryFault> decode_bitmap_table_entry(const Geometry& geometry, std::uint64_t raw) {
  if ((raw & table_entry_reserved_bits) != 0) return std::unexpected(EntryFault::reserved_bits);
  const std::uint64_t offset = raw & entry_offset_mask;
  const bool flag = (raw & entry_zero_flag) != 0;
  if (!geometry.is_cluster_aligned(offset)) return std::unexpected(EntryFault::unaligned);
  if (offset != 0 && flag) return std::unexpected(EntryFault::flag_with_offset);
  return BitmapTableEntry{HostOffset(offset), flag};
}

std::uint64_t encode_bitmap_table_entry(BitmapTableEntry entry) {
  BYRE_ASSERT((entry.data.bytes & ~entry_offset_mask) == 0 && !(entry.data.bytes != 0 && entry.all_ones));
  return entry.data.bytes | (entry.all_ones ? entry_zero_flag : 0);
}

}  // namespace byre::format
