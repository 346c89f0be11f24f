// Encoding, and what a header says about itself. Encoding lays out fields, extensions and backing name without a limit,
// then sees whether they fit into a cluster.
#include "format/header.h"

#include <algorithm>

#include "base/endian.h"
#include "base/text.h"
#include "byre/base/assert.h"
#include "format/header_extensions.h"

namespace byre::format {
namespace {

Result<> check_version_fields(const Header& header) {
  if (header.version >= 3) {
    const std::uint64_t length = header.header_length;
    const std::uint64_t known = std::max<std::uint64_t>(unknown_fields_at, length);
    const bool fits = header.unknown_fields.size() <= known - unknown_fields_at;
    const bool has_type_field = length >= unknown_fields_at || header.compression_type == CompressionType::deflate;
    if (length < min_header_length_version_3 || length % 8 != 0 || !fits || !has_type_field) {
      return fail(ErrorCode::invalid_argument, "header length {} does not suit the header's fields", length);
    }
    return {};
  }
  const bool has_features =
      (header.incompatible_features | header.compatible_features | header.autoclear_features) != 0;
  if (has_features || header.refcount_order != version_2_refcount_order || !header.unknown_fields.empty() ||
      header.compression_type != CompressionType::deflate || header.header_length != header_length_version_2) {
    return fail(ErrorCode::invalid_argument,
                "version 2 has no feature bits, 16-bit refcounts, deflate only, and a header of {} bytes",
                header_length_version_2);
  }
  return {};
}

Result<> check_combinations(const Header& header) {
  const bool is_deflate = header.compression_type == CompressionType::deflate;
  if (header.has_incompatible(incompatible::compression_type) == is_deflate) {
    return fail(ErrorCode::invalid_argument, "compression type and its feature bit differ");
  }
  if (header.encryption.has_value() != (header.crypt_method == CryptMethod::luks)) {
    return fail(ErrorCode::invalid_argument, "an encryption header goes with LUKS, and only with LUKS");
  }
  return {};
}

Result<> check_text(std::string_view what, const std::string& text, std::uint64_t limit_bytes) {
  if (text.size() > limit_bytes) {
    return fail(ErrorCode::invalid_argument, "the {} has {} bytes, at most {} are allowed", what, text.size(),
                limit_bytes);
  }
  if (text.find('\0') != std::string::npos) {
    return fail(ErrorCode::invalid_argument, "the {} '{}' contains a NUL byte", what, escape_untrusted(text));
  }
  return {};
}

Result<> check_encodable(const Header& header) {
  BYRE_ASSERT(header.version == 2 || header.version == 3);
  BYRE_ASSERT(header.cluster_bits >= min_cluster_bits && header.cluster_bits <= max_cluster_bits);
  BYRE_CHECK(check_version_fields(header));
  BYRE_CHECK(check_combinations(header));
  BYRE_CHECK(check_text("backing file's name", header.backing_name, max_backing_name_bytes));
  BYRE_CHECK(check_text("backing format's name", header.backing_format.value_or(""), max_backing_format_bytes));
  const std::uint64_t cluster_bytes = header.geometry().cluster_size_bytes();
  return check_text("data file's name", header.data_file_name.value_or(""), cluster_bytes);
}

void store_version_3_fields(const Header& header, std::byte* to) {
  store_be64(to + header_field::incompatible_features, header.incompatible_features);
  store_be64(to + 80, header.compatible_features);
  store_be64(to + header_field::autoclear_features, header.autoclear_features);
  store_be32(to + 96, header.refcount_order);
  store_be32(to + 100, header.header_length);
  if (header.header_length < unknown_fields_at) return;
  to[104] = static_cast<std::byte>(header.compression_type);
  std::copy(header.unknown_fields.begin(), header.unknown_fields.end(), to + unknown_fields_at);
}

void store_fields(const Header& header, std::uint64_t backing_name_offset, std::byte* to) {
  store_be32(to, 0x514649fb);
  store_be32(to + 4, header.version);
  store_be64(to + 8, backing_name_offset);
  store_be32(to + 16, static_cast<std::uint32_t>(header.backing_name.size()));
  store_be32(to + 20, header.cluster_bits);
  store_be64(to + header_field::virtual_size, header.virtual_size_bytes);
  store_be32(to + 32, static_cast<std::uint32_t>(header.crypt_method));
  store_be32(to + header_field::l1_table, header.l1_entries);
  store_be64(to + 40, header.l1_table.bytes);
  store_be64(to + header_field::refcount_table, header.refcount_table.bytes);
  store_be32(to + 56, header.refcount_table_clusters);
  store_be32(to + header_field::snapshots, header.snapshot_count);
  store_be64(to + 64, header.snapshot_table.bytes);
  if (header.version >= 3) store_version_3_fields(header, to);
}

}  // namespace

Geometry Header::geometry() const {
  return {version, cluster_bits, refcount_order, has_incompatible(incompatible::extended_l2), has_data_file()};
}

std::uint64_t Header::autoclear_bits_to_clear() const {
  std::uint64_t bits = autoclear_features & ~autoclear::known;
  if (!bitmaps.has_value()) bits |= autoclear_features & autoclear::bitmaps;
  if (!has_data_file()) bits |= autoclear_features & autoclear::raw_external_data;
  return bits;
}

Result<std::vector<std::byte>> encode_header(const Header& header) {
  BYRE_CHECK(check_encodable(header));
  std::vector<std::byte> out(header.header_length);
  append_header_extensions(header, out);
  const std::uint64_t backing_name_offset = header.backing_name.empty() ? 0 : out.size();
  const auto name = std::as_bytes(std::span(header.backing_name));
  out.insert(out.end(), name.begin(), name.end());
  store_fields(header, backing_name_offset, out.data());
  const std::uint64_t cluster_bytes = header.geometry().cluster_size_bytes();
  if (out.size() > cluster_bytes) {
    return fail(ErrorCode::no_space, "the header with its names and extensions needs {} bytes, a cluster has {}",
                out.size(), cluster_bytes);
  }
  return out;
}

}  // namespace byre::format
