// Loads all fixed fields first, then judges them in the order of docs/format.md section 3.4, which decides what
// complaint wins. The extensions are walked before the feature bits are judged, since they may name an unknown feature,
// but their own faults are reported at their turn. Left out: whether tables overlap each other, and all they contain.
#include <algorithm>

#include "base/endian.h"
#include "base/text.h"
#include "format/header.h"
#include "format/header_extensions.h"
#include "format/region.h"
#include "format/snapshot_table.h"

namespace byre::format {
namespace {

constexpr std::uint32_t magic = 0x514649fb;
constexpr std::size_t compression_type_at = 104;
constexpr std::uint64_t min_luks_area_bytes = 592;

// What the file says, besides the header that is being filled.
struct Source {
  ConstBytes cluster;  // the first cluster, shorter only if the file is
  std::uint64_t file_size_bytes;
  HeaderUse use;
  std::uint32_t stored_crypt_method;
  std::uint32_t backing_name_bytes;
  std::uint64_t stored_size_bytes;
  unsigned stored_compression_type;
};

void load_version_3_fields(Source& source, Header& header) {
  const std::byte* at = source.cluster.data();
  header.incompatible_features = load_be64(at + header_field::incompatible_features);
  header.compatible_features = load_be64(at + 80);
  header.autoclear_features = load_be64(at + header_field::autoclear_features);
  header.refcount_order = load_be32(at + 96);
  header.header_length = load_be32(at + 100);
}

void load_common_fields(Source& source, Header& header) {
  const std::byte* at = source.cluster.data();
  header.version = load_be32(at + 4);
  header.backing_name_offset = load_be64(at + 8);
  source.backing_name_bytes = load_be32(at + 16);
  header.cluster_bits = load_be32(at + 20);
  source.stored_size_bytes = load_be64(at + header_field::virtual_size);
  header.virtual_size_bytes = round_down(source.stored_size_bytes, sector_bytes);
  source.stored_crypt_method = load_be32(at + 32);
  header.l1_entries = load_be32(at + header_field::l1_table);
  header.l1_table = HostOffset(load_be64(at + 40));
  header.refcount_table = HostOffset(load_be64(at + header_field::refcount_table));
  header.refcount_table_clusters = load_be32(at + 56);
  header.snapshot_count = load_be32(at + header_field::snapshots);
  header.snapshot_table = HostOffset(load_be64(at + 64));
  header.header_length = header_length_version_2;
}

// H-9.
Result<> check_header_length(const Source& source, const Header& header) {
  if (header.version < 3) return {};
  const std::uint64_t length = header.header_length;
  if (length < min_header_length_version_3 || length > header.geometry().cluster_size_bytes() || length % 8 != 0) {
    return fail(ErrorCode::corrupt, "header length {} is not a multiple of 8 from {} to the cluster size {}", length,
                min_header_length_version_3, header.geometry().cluster_size_bytes());
  }
  if (length > source.cluster.size()) {
    return fail(ErrorCode::corrupt, "the file ends inside the header, after {} of {} bytes", source.cluster.size(),
                length);
  }
  return {};
}

void load_fields_behind_104(Source& source, Header& header) {
  source.stored_compression_type = 0;
  if (header.header_length <= compression_type_at) return;
  source.stored_compression_type = static_cast<unsigned>(source.cluster[compression_type_at]);
  ConstBytes unknown = source.cluster.first(header.header_length).subspan(unknown_fields_at);
  while (!unknown.empty() && unknown.back() == std::byte{0}) unknown = unknown.first(unknown.size() - 1);
  header.unknown_fields.assign(unknown.begin(), unknown.end());
}

// H-10, the part that bounds the extension area.
Result<> check_backing_offset(const Source& source, const Header& header) {
  const std::uint64_t offset = header.backing_name_offset;
  if (offset == 0) return {};
  if (offset < header.header_length || offset > header.geometry().cluster_size_bytes()) {
    return fail(ErrorCode::corrupt, "the backing file's name at {:#x} lies outside the header cluster's free part",
                offset);
  }
  if (offset > source.cluster.size()) return fail(ErrorCode::corrupt, "the file ends before its backing file's name");
  return {};
}

// H-18 and I-5.
Result<> check_compression_type(const Source& source, Header& header) {
  const unsigned type = source.stored_compression_type;
  if (type > static_cast<unsigned>(CompressionType::zstd)) {
    return fail(ErrorCode::unsupported, "unknown compression type {}", type);
  }
  header.compression_type = static_cast<CompressionType>(type);
  if (header.has_incompatible(incompatible::compression_type) != (type != 0)) {
    return fail(ErrorCode::corrupt, "compression type {} contradicts its feature bit", type);
  }
  return {};
}

// H-18, H-32, I-40.
Result<> check_incompatible_features(const Source& source, const Header& header) {
  const std::uint64_t unknown = header.incompatible_features & ~incompatible::known;
  if (unknown != 0) {
    const FeatureNameTable names = header.feature_names.value_or(FeatureNameTable{});
    return fail(ErrorCode::unsupported, "unknown incompatible feature: {}", describe_unknown_features(unknown, names));
  }
  if (source.use == HeaderUse::write && header.is_corrupt()) {
    return fail(ErrorCode::refused, "the image is marked corrupt; it can be read or repaired, not written");
  }
  if (header.has_incompatible(incompatible::extended_l2) && header.cluster_bits < min_cluster_bits_extended_l2) {
    return fail(ErrorCode::corrupt, "extended L2 entries need clusters of at least 16384 bytes, not {}",
                header.geometry().cluster_size_bytes());
  }
  return {};
}

// H-17, H-19.
Result<> check_numbers(const Source& source, Header& header) {
  if (header.refcount_order > max_refcount_order) {
    return fail(ErrorCode::corrupt, "refcount order {} is above {}", header.refcount_order, max_refcount_order);
  }
  if (source.stored_crypt_method > static_cast<std::uint32_t>(CryptMethod::luks)) {
    return fail(ErrorCode::unsupported, "unknown encryption method {}", source.stored_crypt_method);
  }
  header.crypt_method = static_cast<CryptMethod>(source.stored_crypt_method);
  return {};
}

// H-13 to H-16.
Result<> check_refcount_table(const Source& source, const Header& header) {
  const Geometry geometry = header.geometry();
  const std::uint64_t clusters = header.refcount_table_clusters;
  if (clusters > max_refcount_table_bytes >> geometry.cluster_bits) {
    return fail(ErrorCode::corrupt, "the refcount table has {} clusters, above the limit of {}", clusters,
                max_refcount_table_bytes >> geometry.cluster_bits);
  }
  if (source.use == HeaderUse::inspect || source.use == HeaderUse::repair) return {};
  if (clusters == 0) return fail(ErrorCode::corrupt, "the image has no refcount table; it can be repaired");
  return check_table_region("refcount table", header.refcount_table, clusters << geometry.cluster_bits, geometry,
                            source.file_size_bytes);
}

// H-13, H-14, H-39. The table's length is not known before it is read, but its entries have a least length.
Result<> check_snapshot_table_position(const Source& source, const Header& header) {
  if (source.use == HeaderUse::repair) return {};
  if (header.snapshot_count > max_snapshots) {
    return fail(ErrorCode::corrupt, "{} snapshots, above the limit of {}", header.snapshot_count, max_snapshots);
  }
  const Geometry geometry = header.geometry();
  if (header.snapshot_count > 0) {
    return check_table_region("snapshot table", header.snapshot_table, header.snapshot_count * snapshot_entry_min_bytes,
                              geometry, source.file_size_bytes);
  }
  return check_table_alignment("snapshot table", header.snapshot_table, geometry);
}

// H-12 to H-15.
Result<> check_l1_table(const Source& source, const Header& header) {
  if (header.l1_entries > max_l1_entries) {
    return fail(ErrorCode::corrupt, "the L1 table has {} entries, above the limit of {}", header.l1_entries,
                max_l1_entries);
  }
  if (source.use == HeaderUse::inspect) return {};
  if (header.l1_entries == 0) return check_table_alignment("L1 table", header.l1_table, header.geometry());
  return check_table_region("L1 table", header.l1_table, std::uint64_t{header.l1_entries} * 8, header.geometry(),
                            source.file_size_bytes);
}

// H-11.
Result<> check_virtual_size(const Source& source, const Header& header) {
  const std::uint64_t needed = header.geometry().required_l1_entries(header.virtual_size_bytes);
  if (needed > max_l1_entries) {
    return fail(ErrorCode::corrupt, "virtual size {} is more than {}-byte clusters can map", source.stored_size_bytes,
                header.geometry().cluster_size_bytes());
  }
  if (needed > header.l1_entries) {
    return fail(ErrorCode::corrupt, "virtual size {} needs {} L1 entries, the table has {}", source.stored_size_bytes,
                needed, header.l1_entries);
  }
  return {};
}

// H-19, H-54.
Result<> check_encryption(const Source& source, const Header& header) {
  const bool is_luks = header.crypt_method == CryptMethod::luks;
  if (is_luks != header.encryption.has_value()) {
    return fail(ErrorCode::corrupt, "encryption method {} {}", source.stored_crypt_method,
                is_luks ? "needs an encryption header, which the image lacks" : "must not have an encryption header");
  }
  if (!is_luks) return {};
  const EncryptionPointer& area = *header.encryption;
  if (area.length_bytes < min_luks_area_bytes) {
    return fail(ErrorCode::corrupt, "the encryption header has {} bytes, it needs at least {}", area.length_bytes,
                min_luks_area_bytes);
  }
  return check_table_region("encryption header", area.offset, area.length_bytes, header.geometry(),
                            source.file_size_bytes);
}

// H-10, I-4.
Result<> take_backing_name(const Source& source, Header& header) {
  if (header.backing_name_offset == 0) return {};
  const ConstBytes rest = source.cluster.subspan(header.backing_name_offset);
  if (source.backing_name_bytes > max_backing_name_bytes || source.backing_name_bytes > rest.size()) {
    return fail(ErrorCode::corrupt, "the backing file's name has {} bytes, at most {} are allowed",
                source.backing_name_bytes, std::min<std::uint64_t>(max_backing_name_bytes, rest.size()));
  }
  header.backing_name.assign(reinterpret_cast<const char*>(rest.data()), source.backing_name_bytes);
  if (header.backing_name.find('\0') != std::string::npos) {
    return fail(ErrorCode::corrupt, "the backing file's name '{}' contains a NUL byte",
                escape_untrusted(header.backing_name));
  }
  return {};
}

// I-7, I-30: harmless to a reader, but a writer would break the promise of the raw bit, or a snapshot's data.
Result<> check_data_file_for_writing(const Source& source, const Header& header) {
  if (source.use != HeaderUse::write || !header.has_data_file()) return {};
  if (header.snapshot_count > 0) {
    return fail(ErrorCode::corrupt, "an image with an external data file cannot have snapshots, it has {}",
                header.snapshot_count);
  }
  if ((header.autoclear_features & autoclear::raw_external_data) != 0 && !header.backing_name.empty()) {
    return fail(ErrorCode::corrupt, "an image with a raw external data file cannot have a backing file");
  }
  return {};
}

Result<> judge(Source& source, Header& header) {
  BYRE_CHECK(check_header_length(source, header));
  load_fields_behind_104(source, header);
  BYRE_CHECK(check_backing_offset(source, header));
  const std::uint64_t area_end = header.backing_name_offset != 0 ? header.backing_name_offset : source.cluster.size();
  const auto extensions =
      decode_header_extensions(source.cluster.first(area_end).subspan(header.header_length), header);
  BYRE_CHECK(check_compression_type(source, header));
  BYRE_CHECK(check_incompatible_features(source, header));
  BYRE_CHECK(check_numbers(source, header));
  BYRE_CHECK(check_refcount_table(source, header));
  BYRE_CHECK(check_snapshot_table_position(source, header));
  BYRE_CHECK(check_l1_table(source, header));
  BYRE_CHECK(check_virtual_size(source, header));
  BYRE_CHECK(extensions);
  BYRE_CHECK(check_encryption(source, header));
  BYRE_CHECK(take_backing_name(source, header));
  BYRE_CHECK(check_data_file_for_writing(source, header));
  if (!header.has_valid_bitmaps() || source.use == HeaderUse::repair) return {};
  return check_bitmaps_extension(*header.bitmaps, header.geometry(), source.file_size_bytes);
}

}  // namespace

bool is_qcow2_magic(ConstBytes first_bytes) {
  return first_bytes.size() >= 8 && load_be32(first_bytes.data()) == magic && load_be32(first_bytes.data() + 4) >= 2;
}

Result<unsigned> peek_cluster_bits(ConstBytes first_bytes) {
  if (!is_qcow2_magic(first_bytes)) return fail(ErrorCode::unsupported, "not a qcow2 image");
  const std::uint32_t version = load_be32(first_bytes.data() + 4);
  if (version > 3) return fail(ErrorCode::unsupported, "qcow2 version {} is unknown, 2 and 3 are", version);
  const std::size_t needed = version < 3 ? header_length_version_2 : min_header_length_version_3;
  if (first_bytes.size() < needed) {
    return fail(ErrorCode::corrupt, "the file ends inside the header, after {} of {} bytes", first_bytes.size(),
                needed);
  }
  const std::uint32_t cluster_bits = load_be32(first_bytes.data() + 20);
  if (cluster_bits < min_cluster_bits || cluster_bits > max_cluster_bits) {
    return fail(ErrorCode::corrupt, "cluster_bits is {}, it must be {} to {}", cluster_bits, min_cluster_bits,
                max_cluster_bits);
  }
  return cluster_bits;
}

Result<Header> decode_header(ConstBytes file_start, std::uint64_t file_size_bytes, HeaderUse use) {
  // A file that grew while it was read must not be judged by two lengths.
  file_start = file_start.first(std::min<std::uint64_t>(file_start.size(), file_size_bytes));
  BYRE_TRY(const unsigned cluster_bits, peek_cluster_bits(file_start));
  const std::uint64_t cluster_bytes = std::min(std::uint64_t{1} << cluster_bits, file_size_bytes);
  if (file_start.size() < cluster_bytes) {
    return fail(ErrorCode::io, "only {} of the header cluster's {} bytes could be read", file_start.size(),
                cluster_bytes);
  }
  Source source = {file_start.first(cluster_bytes), file_size_bytes, use, 0, 0, 0, 0};
  Header header;
  load_common_fields(source, header);
  if (header.version >= 3) load_version_3_fields(source, header);
  BYRE_CHECK(judge(source, header));
  return header;
}

}  // namespace byre::format
