// Fresh images for tests, laid out as docs/format.md section 2 describes, made from format/ alone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "format/geometry.h"
#include "format/header.h"

namespace byre::test {

struct FreshImageOptions {
  format::Geometry geometry;
  std::uint64_t size_bytes = 1 << 20;
  std::string backing_name;  // recorded with format "raw"
  format::CompressionType compression_type = format::CompressionType::deflate;
  bool lazy_refcounts = false;
};

std::vector<std::byte> fresh_image(const FreshImageOptions& options);

// Counts every cluster that the refcount table can count, but for the last `free_clusters`, as taken by nobody: leaks.
// For fresh images with 512-byte clusters and 64-bit refcounts, whose table covers 2 MiB.
void crowd(std::vector<std::byte>& image, std::uint64_t free_clusters);

}  // namespace byre::test
