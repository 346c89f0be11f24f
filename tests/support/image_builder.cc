// Clusters are only ever appended; the one refcount block of the fresh image must cover them.

#include "support/image_builder.h"

#include <algorithm>

#include "base/math.h"
#include "byre/base/assert.h"
#include "format/compression.h"
#include "format/refcount.h"

namespace byre::test {
namespace {

std::byte* at(std::vector<std::byte>& image, std::uint64_t offset) { return image.data() + offset; }

}  // namespace

ImageBuilder::ImageBuilder(const FreshImageOptions& options)
    : geometry_(options.geometry), image_(fresh_image(options)) {
  image_.resize(round_up(image_.size(), cluster_size()));
  if (geometry_.extended_l2) put64(72, load64(72) | format::incompatible::extended_l2);
  l2_table_ = add_clusters(1);
  set_l1(0, l2_table_ | format::entry_copied_flag);
}

FreshImageOptions ImageBuilder::small_options(unsigned version, unsigned cluster_bits) {
  FreshImageOptions options;
  options.geometry.version = version;
  options.geometry.cluster_bits = cluster_bits;
  options.size_bytes = 2 * options.geometry.guest_bytes_per_l2();
  return options;
}

std::uint64_t ImageBuilder::add_clusters(std::uint64_t count, std::byte fill) {
  const std::uint64_t offset = image_.size();
  image_.resize(offset + count * cluster_size(), fill);
  for (std::uint64_t i = 0; i < count; ++i) set_count(offset / cluster_size() + i, 1);
  return offset;
}

std::uint64_t ImageBuilder::add_content(ConstBytes content) {
  const std::uint64_t offset = add_clusters(ceil_div(content.size(), cluster_size()));
  put_bytes(offset, content);
  return offset;
}

void ImageBuilder::set_l2(std::uint64_t guest_cluster, std::uint64_t raw, std::uint64_t bitmap) {
  const std::uint64_t entry = l2_table_ + guest_cluster * geometry_.l2_entry_bytes();
  put64(entry, raw);
  if (geometry_.extended_l2) put64(entry + 8, bitmap);
}

void ImageBuilder::set_count(std::uint64_t host_cluster, std::uint64_t count) {
  BYRE_ASSERT(host_cluster < geometry_.refcounts_per_block());
  format::store_refcount(at(image_, refcount_block()), geometry_.refcount_order, host_cluster, count);
}

std::uint64_t ImageBuilder::count(std::uint64_t host_cluster) const {
  return format::load_refcount(image_.data() + refcount_block(), geometry_.refcount_order, host_cluster);
}

std::uint64_t ImageBuilder::add_data(std::uint64_t guest_cluster, std::byte fill) {
  const std::uint64_t host = add_clusters(1, fill);
  set_l2(guest_cluster, host | format::entry_copied_flag, 0xffff'ffff);
  return host;
}

std::uint64_t ImageBuilder::add_compressed(std::uint64_t guest_cluster, ConstBytes payload) {
  const std::uint64_t host = add_content(payload);
  const auto extent = format::make_compressed_extent(geometry_, HostOffset(host), payload.size());
  BYRE_ASSERT(extent.has_value());
  std::byte raw[16] = {};
  format::encode_l2_entry(geometry_, format::L2Entry::from_compressed(*extent), raw);
  set_l2(guest_cluster, load_be64(raw));
  return host;
}

// The offset of the END record.
std::uint64_t ImageBuilder::end_of_extensions() const {
  std::uint64_t offset = geometry_.version >= 3 ? load32(100) : format::header_length_version_2;
  while (load32(offset) != 0) offset += 8 + round_up(load32(offset + 4), 8);
  return offset;
}

void ImageBuilder::add_extension(std::uint32_t type, ConstBytes data) {
  const std::uint64_t offset = end_of_extensions();
  BYRE_ASSERT(offset + 16 + round_up(data.size(), 8) <= cluster_size());
  put32(offset, type);
  put32(offset + 4, static_cast<std::uint32_t>(data.size()));
  put_bytes(offset + 8, data);
}

void ImageBuilder::set_backing(const std::string& name) {
  const std::uint64_t offset = end_of_extensions() + 8;
  put64(8, offset);
  put32(16, static_cast<std::uint32_t>(name.size()));
  put_bytes(offset, bytes_from(name));
}

void ImageBuilder::put_bytes(std::uint64_t offset, ConstBytes bytes) {
  BYRE_ASSERT(offset + bytes.size() <= image_.size());
  std::ranges::copy(bytes, at(image_, offset));
}

ImageBuilder sample_image(unsigned version, unsigned cluster_bits) {
  ImageBuilder image(ImageBuilder::small_options(version, cluster_bits));
  image.add_data(0, std::byte{0x11});
  image.add_data(1, std::byte{0x22});
  image.add_compressed(2, deflated_cluster(image.cluster_size(), std::byte{0x33}));
  if (version < 3) return image;
  image.set_l2(3, image.add_clusters(1, std::byte{0x44}) | format::entry_copied_flag | format::entry_zero_flag);
  image.set_l2(4, format::entry_zero_flag);
  return image;
}

std::vector<std::byte> bytes_from(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> deflated_cluster(std::uint64_t size_bytes, std::byte fill) {
  const std::vector<std::byte> cluster(size_bytes, fill);
  std::vector<std::byte> payload(size_bytes);
  payload.resize(format::compress_cluster(format::CompressionType::deflate, 0, cluster, payload));
  BYRE_ASSERT(!payload.empty());
  return payload;
}

}  // namespace byre::test
