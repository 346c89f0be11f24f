// payloads FILE compress|decompress zlib|zstd: what the compressor alone takes for all clusters of a raw file that
// are not zeros, on all processors, without reading or writing anything: the limit of what `convert -c` can reach.
// Prints seconds. Clusters are loaded in batches, and that is not timed.

#include <fmt/core.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <string_view>
#include <thread>
#include <vector>

#include "byre/base/buffer.h"
#include "format/compression.h"

namespace byre {
namespace {

constexpr std::size_t cluster_bytes = 64 << 10;
constexpr std::size_t batch_clusters = 1024;

std::span<std::byte> cluster_of(std::vector<std::byte>& buffer, std::size_t index) {
  return std::span(buffer).subspan(index * cluster_bytes, cluster_bytes);
}

// The seconds that `work` takes for the numbers from 0 to `count`.
template <class Work>
double on_all_processors(std::size_t count, const Work& work) {
  const auto begin = std::chrono::steady_clock::now();
  std::atomic<std::size_t> next = 0;
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < std::thread::hardware_concurrency(); ++i) {
    threads.emplace_back([&] {
      for (std::size_t index = next++; index < count; index = next++) work(index);
    });
  }
  threads.clear();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Fills `clusters` from the file; how many there were.
std::size_t load(std::ifstream& file, std::vector<std::byte>& clusters) {
  std::size_t count = 0;
  while (count < batch_clusters) {
    const auto cluster = cluster_of(clusters, count);
    if (!file.read(reinterpret_cast<char*>(cluster.data()), static_cast<std::streamsize>(cluster.size()))) break;
    if (!is_all_zero(cluster)) ++count;
  }
  return count;
}

double measure(std::ifstream& file, bool decompress, format::CompressionType type) {
  std::vector<std::byte> clusters(batch_clusters * cluster_bytes);
  std::vector<std::byte> payloads(clusters.size());
  std::vector<std::size_t> sizes(batch_clusters);
  double compressing = 0;
  double decompressing = 0;
  while (const std::size_t count = load(file, clusters)) {
    compressing += on_all_processors(count, [&](std::size_t index) {
      const Bytes target = cluster_of(payloads, index).first(cluster_bytes - 1);
      sizes[index] = format::compress_cluster(type, 0, cluster_of(clusters, index), target);
    });
    decompressing += on_all_processors(count, [&](std::size_t index) {
      if (sizes[index] == 0) return;
      const ConstBytes payload = cluster_of(payloads, index).first(sizes[index]);
      (void)format::decompress_cluster(type, payload, cluster_of(clusters, index));
    });
  }
  return decompress ? decompressing : compressing;
}

}  // namespace
}  // namespace byre

int main(int argc, char** argv) {
  const std::string_view what = argc == 4 ? argv[2] : "";
  const std::string_view type = argc == 4 ? argv[3] : "";
  if ((what != "compress" && what != "decompress") || (type != "zlib" && type != "zstd")) {
    fmt::print(stderr, "usage: payloads FILE compress|decompress zlib|zstd\n");
    return 1;
  }
  std::ifstream file(argv[1], std::ios::binary);
  if (!file) {
    fmt::print(stderr, "payloads: {} cannot be read\n", argv[1]);
    return 1;
  }
  fmt::print("{:.3f}\n", byre::measure(file, what == "decompress",
                                       type == "zstd" ? byre::format::CompressionType::zstd
                                                      : byre::format::CompressionType::deflate));
  return 0;
}
