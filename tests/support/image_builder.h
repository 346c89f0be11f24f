// Images put together cluster by cluster, so that a test can make any table say anything. What it makes by itself is
// valid: counts follow what is added, until a test overrides them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/endian.h"
#include "byre/base/buffer.h"
#include "format/entry.h"
#include "support/fresh_image.h"

namespace byre::test {

class ImageBuilder {
 public:
  // A fresh image whose L1 entry 0 names an empty L2 table. Refcounts are at least 8 bits wide or stay at 1.
  explicit ImageBuilder(const FreshImageOptions& options);
  ImageBuilder() : ImageBuilder(small_options()) {}

  // 4 KiB clusters, version 3, 4 MiB: two L1 entries.
  static FreshImageOptions small_options(unsigned version = 3, unsigned cluster_bits = 12);

  const format::Geometry& geometry() const { return geometry_; }
  std::uint64_t cluster_size() const { return geometry_.cluster_size_bytes(); }

  // Appends clusters, counts each once, and returns the host offset of the first.
  std::uint64_t add_clusters(std::uint64_t count, std::byte fill = std::byte{0});

  // The same with bytes, padded with zeros to whole clusters.
  std::uint64_t add_content(ConstBytes content);

  // Where the tables lie, as the header has it now.
  std::uint64_t l1_table() const { return load64(40); }
  std::uint64_t refcount_table() const { return load64(48); }
  std::uint64_t refcount_block() const { return load64(refcount_table()); }
  std::uint64_t l2_table() const { return l2_table_; }  // the first one

  void set_l1(std::uint64_t index, std::uint64_t raw) { put64(l1_table() + index * 8, raw); }
  // In the first L2 table. `bitmap` counts only with extended L2 entries.
  void set_l2(std::uint64_t guest_cluster, std::uint64_t raw, std::uint64_t bitmap = 0);
  // In the first refcount block.
  void set_count(std::uint64_t host_cluster, std::uint64_t count);
  std::uint64_t count(std::uint64_t host_cluster) const;

  // A normal cluster with COPIED, full of `fill`. Returns its host offset.
  std::uint64_t add_data(std::uint64_t guest_cluster, std::byte fill);
  // A compressed cluster with this payload, in a host cluster of its own.
  std::uint64_t add_compressed(std::uint64_t guest_cluster, ConstBytes payload);

  // Puts an extension in front of the END that the header has. Clusters must have room.
  void add_extension(std::uint32_t type, ConstBytes data);
  // A backing name behind the extensions.
  void set_backing(const std::string& name);

  void put32(std::uint64_t at, std::uint32_t value) { store_be32(image_.data() + at, value); }
  void put64(std::uint64_t at, std::uint64_t value) { store_be64(image_.data() + at, value); }
  void put_bytes(std::uint64_t at, ConstBytes bytes);
  std::uint32_t load32(std::uint64_t at) const { return load_be32(image_.data() + at); }
  std::uint64_t load64(std::uint64_t at) const { return load_be64(image_.data() + at); }

  std::vector<std::byte>& bytes() { return image_; }
  std::vector<std::byte> take() { return std::move(image_); }

 private:
  std::uint64_t end_of_extensions() const;

  format::Geometry geometry_;
  std::vector<std::byte> image_;
  std::uint64_t l2_table_ = 0;
};

// An image with one cluster of each kind: guest clusters 0 and 1 hold data (0x11, 0x22), 2 is compressed (0x33),
// 3 is zero and allocated, 4 is zero (version 3), the rest is unallocated. Clean.
ImageBuilder sample_image(unsigned version = 3, unsigned cluster_bits = 12);

// The text's bytes.
std::vector<std::byte> bytes_from(std::string_view text);

// A cluster full of `fill`, as raw deflate.
std::vector<std::byte> deflated_cluster(std::uint64_t size_bytes, std::byte fill);

}  // namespace byre::test
