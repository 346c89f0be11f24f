#include "support/fresh_image.h"

#include <algorithm>

#include "base/endian.h"
#include "base/math.h"
#include "byre/base/assert.h"
#include "format/entry.h"
#include "format/refcount.h"

namespace byre::test {

// Header, refcount table, one refcount block, L1: each from a cluster boundary on.
std::vector<std::byte> fresh_image(const FreshImageOptions& options) {
  const format::Geometry& geometry = options.geometry;
  const std::uint64_t cluster_size = geometry.cluster_size_bytes();
  const std::uint64_t l1_entries = geometry.required_l1_entries(options.size_bytes);
  const std::uint64_t clusters = 3 + geometry.clusters_for(l1_entries * 8);
  BYRE_ASSERT(clusters <= geometry.refcounts_per_block());

  format::Header header;
  header.version = geometry.version;
  header.cluster_bits = geometry.cluster_bits;
  header.refcount_order = geometry.refcount_order;
  header.virtual_size_bytes = options.size_bytes;
  header.l1_entries = static_cast<std::uint32_t>(l1_entries);
  header.l1_table = HostOffset(3 * cluster_size);
  header.refcount_table = HostOffset(cluster_size);
  header.refcount_table_clusters = 1;
  header.compression_type = options.compression_type;
  if (geometry.version == 2) header.header_length = format::header_length_version_2;
  if (options.compression_type != format::CompressionType::deflate) {
    header.incompatible_features |= format::incompatible::compression_type;
  }
  if (options.lazy_refcounts) header.compatible_features |= format::compatible::lazy_refcounts;
  if (!options.backing_name.empty()) {
    header.backing_name = options.backing_name;
    header.backing_format = "raw";
  }
  const auto encoded = format::encode_header(header);
  BYRE_ASSERT(encoded.has_value());

  std::vector<std::byte> image(3 * cluster_size + std::max<std::uint64_t>(l1_entries * 8, 1));
  std::ranges::copy(*encoded, image.begin());
  store_be64(image.data() + cluster_size, format::encode_refcount_table_entry(HostOffset(2 * cluster_size)));
  for (std::uint64_t i = 0; i < clusters; ++i) {
    format::store_refcount(image.data() + 2 * cluster_size, geometry.refcount_order, i, 1);
  }
  return image;
}

void crowd(std::vector<std::byte>& image, std::uint64_t free_clusters) {
  const format::Geometry geometry{3, 9, 6};
  const std::uint64_t blocks = geometry.refcount_table_entries_per_cluster();
  const std::uint64_t per_block = geometry.refcounts_per_block();
  const std::uint64_t taken = blocks * per_block - free_clusters;
  image.resize(taken << geometry.cluster_bits);
  for (std::uint64_t i = 0; i < blocks; ++i) {
    const HostOffset block = geometry.host_cluster(i == 0 ? 2 : i * per_block);
    if (block.bytes >= image.size()) image.resize(block.bytes + geometry.cluster_size_bytes());
    store_be64(image.data() + geometry.cluster_size_bytes() + i * 8, format::encode_refcount_table_entry(block));
    for (std::uint64_t j = 0; j < per_block; ++j) {
      const bool own = geometry.host_cluster(i * per_block + j) == block;
      const std::uint64_t count = own || i * per_block + j < taken ? 1 : 0;
      format::store_refcount(image.data() + block.bytes, geometry.refcount_order, j, count);
    }
  }
}

}  // namespace byre::test
