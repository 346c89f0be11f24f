// Valid on-disk structures for the tests of src/format, and ways to bend them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/endian.h"
#include "format/header.h"

namespace byre::format {

// Far behind every table of a sample.
inline constexpr std::uint64_t huge_file_bytes = std::uint64_t{1} << 50;

// "51 46 49fb" -> bytes; blanks are skipped.
inline std::vector<std::byte> from_hex(std::string_view text) {
  std::vector<std::byte> bytes;
  unsigned digits = 0;
  unsigned value = 0;
  for (const char c : text) {
    if (c == ' ') continue;
    value = value * 16 + static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10);
    if (++digits % 2 == 0) {
      bytes.push_back(static_cast<std::byte>(value & 0xff));
      value = 0;
    }
  }
  return bytes;
}

inline std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// The layout of a fresh image (docs/format.md section 2) with a disk of one L2 table's reach.
inline Header sample_header(unsigned version, unsigned cluster_bits) {
  Header header;
  header.version = version;
  header.cluster_bits = cluster_bits;
  if (version == 2) header.header_length = header_length_version_2;
  const std::uint64_t cluster_bytes = std::uint64_t{1} << cluster_bits;
  header.refcount_table = HostOffset(cluster_bytes);
  header.refcount_table_clusters = 1;
  header.l1_table = HostOffset(3 * cluster_bytes);
  header.l1_entries = 1;
  header.virtual_size_bytes = header.geometry().guest_bytes_per_l2();
  return header;
}

// The whole first cluster.
inline std::vector<std::byte> first_cluster(const Header& header) {
  std::vector<std::byte> bytes = encode_header(header).value();
  bytes.resize(header.geometry().cluster_size_bytes());
  return bytes;
}

inline void patch32(std::vector<std::byte>& bytes, std::size_t at, std::uint32_t value) {
  store_be32(bytes.data() + at, value);
}
inline void patch64(std::vector<std::byte>& bytes, std::size_t at, std::uint64_t value) {
  store_be64(bytes.data() + at, value);
}

}  // namespace byre::format
