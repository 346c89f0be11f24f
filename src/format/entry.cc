// Each decoder masks out what must be zero first, then splits the word. The L2 decoder here takes what the inline path
// in the header leaves over: everything but a plain normal cluster. Left out: whether offsets make sense in the file.
#include "format/entry.h"

#include "byre/base/assert.h"

namespace byre::format {
namespace {

constexpr std::uint64_t l1_reserved_bits = ~(entry_offset_mask | entry_copied_flag);
constexpr std::uint64_t l2_reserved_bits =
    ~(entry_offset_mask | entry_copied_flag | entry_compressed_flag | entry_zero_flag);
constexpr std::uint64_t refcount_table_reserved_bits = 0x1ff;

bool is_valid_bitmap(SubclusterBitmap bitmap, bool has_host) {
  return (bitmap.allocated & bitmap.zero) == 0 && (has_host || bitmap.allocated == 0);
}

std::expected<L2Entry, EntryFault> decode_compressed(const Geometry& geometry, std::uint64_t word,
                                                     const std::byte* raw) {
  if (geometry.external_data_file) return std::unexpected(EntryFault::compressed_with_data_file);
  if ((word & entry_copied_flag) != 0) return std::unexpected(EntryFault::copied_on_compressed);
  if (geometry.extended_l2 && load_be64(raw + 8) != 0) return std::unexpected(EntryFault::second_word_not_zero);
  const unsigned x = geometry.compressed_offset_bits();
  const std::uint64_t offset = word & ((std::uint64_t{1} << x) - 1);
  if (offset >= geometry.compressed_offset_limit()) return std::unexpected(EntryFault::compressed_offset_too_large);
  const std::uint64_t additional_sectors = (word & ~entry_compressed_flag) >> x;
  const std::uint64_t length_bytes = sector_bytes * (additional_sectors + 1) - offset % sector_bytes;
  return L2Entry::from_compressed({HostOffset(offset), length_bytes});
}

std::expected<L2Entry, EntryFault> decode_extended(bool has_host, std::uint64_t word, std::uint64_t second_word) {
  if ((word & entry_zero_flag) != 0) return std::unexpected(EntryFault::zero_flag_with_extended_l2);
  const SubclusterBitmap bitmap = {static_cast<std::uint32_t>(second_word),
                                   static_cast<std::uint32_t>(second_word >> 32)};
  if ((bitmap.allocated & bitmap.zero) != 0) return std::unexpected(EntryFault::subcluster_overlap);
  if (!is_valid_bitmap(bitmap, has_host)) return std::unexpected(EntryFault::subcluster_without_offset);
  const bool copied = (word & entry_copied_flag) != 0;
  if (has_host) return L2Entry::with_subclusters(HostOffset(word & entry_offset_mask), copied, bitmap);
  L2Entry entry = L2Entry::without_host(bitmap.zero);
  entry.copied = copied;
  return entry;
}

std::uint64_t encode_compressed(const Geometry& geometry, const CompressedExtent& extent) {
  const auto checked = make_compressed_extent(geometry, extent.offset, extent.length_bytes);
  BYRE_ASSERT(checked.has_value() && *checked == extent);
  const std::uint64_t offset = extent.offset.bytes;
  const std::uint64_t additional_sectors = (offset + extent.length_bytes - 1) / sector_bytes - offset / sector_bytes;
  return entry_compressed_flag | additional_sectors << geometry.compressed_offset_bits() | offset;
}

}  // namespace

std::string_view describe(EntryFault fault) {
  switch (fault) {
    case EntryFault::reserved_bits: return "reserved bits are set";
    case EntryFault::unaligned: return "the offset is not a multiple of the cluster size";
    case EntryFault::zero_flag_in_version_2: return "the zero flag is set, which version 2 does not have";
    case EntryFault::zero_flag_with_extended_l2: return "bit 0 is set, which extended L2 entries do not have";
    case EntryFault::copied_on_compressed: return "a compressed entry carries the COPIED flag";
    case EntryFault::compressed_offset_too_large: return "the compressed data's offset is above the format's limit";
    case EntryFault::compressed_length_invalid: return "the compressed data's length cannot be expressed";
    case EntryFault::compressed_with_data_file: return "a compressed entry in an image with an external data file";
    case EntryFault::subcluster_overlap: return "a subcluster is marked both allocated and zero";
    case EntryFault::subcluster_without_offset: return "a subcluster is marked allocated without a host cluster";
    case EntryFault::second_word_not_zero: return "a compressed entry has subcluster bits";
    case EntryFault::data_file_offset_mismatch: return "the data file's offset differs from the guest offset";
    case EntryFault::flag_with_offset: return "both bit 0 and an offset are set";
  }
  return "unknown fault";
}

std::expected<L1Entry, EntryFault> decode_l1_entry(const Geometry& geometry, std::uint64_t raw) {
  if ((raw & l1_reserved_bits) != 0) return std::unexpected(EntryFault::reserved_bits);
  const std::uint64_t offset = raw & entry_offset_mask;
  if (!geometry.is_cluster_aligned(offset)) return std::unexpected(EntryFault::unaligned);
  return L1Entry{HostOffset(offset), (raw & entry_copied_flag) != 0};
}

std::uint64_t encode_l1_entry(L1Entry entry) {
  BYRE_ASSERT((entry.l2_table.bytes & ~entry_offset_mask) == 0);
  return entry.l2_table.bytes | (entry.copied ? entry_copied_flag : 0);
}

std::expected<HostOffset, EntryFault> decode_refcount_table_entry(const Geometry& geometry, std::uint64_t raw) {
  if ((raw & refcount_table_reserved_bits) != 0) return std::unexpected(EntryFault::reserved_bits);
  if (!geometry.is_cluster_aligned(raw)) return std::unexpected(EntryFault::unaligned);
  return HostOffset(raw);
}

std::uint64_t encode_refcount_table_entry(HostOffset refcount_block) {
  BYRE_ASSERT((refcount_block.bytes & refcount_table_reserved_bits) == 0);
  return refcount_block.bytes;
}

std::expected<CompressedExtent, EntryFault> make_compressed_extent(const Geometry& geometry, HostOffset offset,
                                                                   std::uint64_t payload_bytes) {
  if (geometry.external_data_file) return std::unexpected(EntryFault::compressed_with_data_file);
  if (offset.bytes >= geometry.compressed_offset_limit()) {
    return std::unexpected(EntryFault::compressed_offset_too_large);
  }
  const std::uint64_t in_sector = offset.bytes % sector_bytes;
  const std::uint64_t max_payload = geometry.max_compressed_sectors() * sector_bytes - in_sector;
  if (payload_bytes == 0 || payload_bytes > max_payload) return std::unexpected(EntryFault::compressed_length_invalid);
  return CompressedExtent{offset, round_up(in_sector + payload_bytes, sector_bytes) - in_sector};
}

unsigned subcluster_run_length(const L2Entry& entry, unsigned index) {
  const unsigned left = 32 - index;
  if (entry.kind == ClusterKind::compressed) return left;
  // Bits that differ from the first one, in either map, moved so that `index` becomes bit 0.
  const auto differing = [&](std::uint32_t map) {
    const std::uint32_t moved = map >> index;
    return (moved & 1) != 0 ? ~moved : moved;
  };
  const std::uint32_t changes = differing(entry.subclusters.allocated) | differing(entry.subclusters.zero);
  const auto run = static_cast<unsigned>(std::countr_zero(changes));
  return run < left ? run : left;
}

std::expected<L2Entry, EntryFault> detail::decode_special_l2_entry(const Geometry& geometry, const std::byte* raw) {
  const std::uint64_t word = load_be64(raw);
  if ((word & entry_compressed_flag) != 0) return decode_compressed(geometry, word, raw);
  if ((word & l2_reserved_bits) != 0) return std::unexpected(EntryFault::reserved_bits);
  const HostOffset host(word & entry_offset_mask);
  if (!geometry.is_cluster_aligned(host.bytes)) return std::unexpected(EntryFault::unaligned);
  const bool copied = (word & entry_copied_flag) != 0;
  // Guest cluster 0 of an external data file lives at offset 0; COPIED tells it from an unallocated one.
  const bool has_host = host.bytes != 0 || (geometry.external_data_file && copied);
  if (geometry.extended_l2) return decode_extended(has_host, word, load_be64(raw + 8));
  if ((word & entry_zero_flag) == 0) {
    if (has_host) return L2Entry::normal(host, copied);
    L2Entry entry = L2Entry::unallocated();
    entry.copied = copied;
    return entry;
  }
  if (geometry.version < 3) return std::unexpected(EntryFault::zero_flag_in_version_2);
  if (host.bytes != 0) return L2Entry::zero_allocated(host, copied);
  L2Entry entry = L2Entry::zero_plain();
  entry.copied = copied;
  return entry;
}

bool any_zero_flag(std::span<const std::byte> table) {
  std::uint64_t found = 0;
  for (std::size_t at = 0; at + 8 <= table.size(); at += 8) {
    const std::uint64_t word = load_be64(table.data() + at);
    found |= word & ~(word >> 62);  // bit 62: compressed
  }
  return (found & entry_zero_flag) != 0;
}

void encode_l2_entry(const Geometry& geometry, const L2Entry& entry, std::byte* raw) {
  std::uint64_t word = 0;
  if (entry.kind == ClusterKind::compressed) {
    BYRE_ASSERT(!entry.copied && entry.subclusters == SubclusterBitmap{});
    word = encode_compressed(geometry, entry.compressed);
  } else {
    const bool needs_host = entry.has_host_cluster();
    BYRE_ASSERT((entry.host.bytes & ~entry_offset_mask) == 0 && geometry.is_cluster_aligned(entry.host.bytes));
    BYRE_ASSERT(needs_host ? entry.host.bytes != 0 || (geometry.external_data_file && entry.copied)
                           : entry.host.bytes == 0);
    word = entry.host.bytes | (entry.copied ? entry_copied_flag : 0);
    const bool zero = entry.kind == ClusterKind::zero_plain || entry.kind == ClusterKind::zero_allocated;
    BYRE_ASSERT(!zero || geometry.version >= 3);
    if (zero && !geometry.extended_l2) word |= entry_zero_flag;
  }
  store_be64(raw, word);
  if (!geometry.extended_l2) return;
  BYRE_ASSERT(is_valid_bitmap(entry.subclusters, entry.has_host_cluster()));
  store_be64(raw + 8, std::uint64_t{entry.subclusters.zero} << 32 | entry.subclusters.allocated);
}

}  // namespace byre::format
