#include "format/compression.h"

#include <gtest/gtest.h>

#include <vector>

#include "byre/storage/simulated.h"

namespace byre::test {
namespace {

using format::CompressionType;
constexpr std::size_t cluster_bytes = 65536;

// Text-like: words drawn from a few hundred, so that there is something to find and much to choose from.
std::vector<std::byte> text_cluster(std::uint64_t seed) {
  SimulatedRandom random(seed);
  std::vector<std::byte> cluster;
  while (cluster.size() < cluster_bytes) {
    SimulatedRandom word(random.below(300) * 7919 + seed % 3);
    for (std::uint64_t i = 2 + word.below(9); i > 0; --i)
      cluster.push_back(static_cast<std::byte>('a' + word.below(26)));
    cluster.push_back(std::byte{' '});
  }
  cluster.resize(cluster_bytes);
  return cluster;
}

std::vector<std::byte> compressed(CompressionType type, const std::vector<std::byte>& cluster) {
  std::vector<std::byte> payload(cluster_bytes - 1);
  payload.resize(format::compress_cluster(type, cluster, payload));
  return payload;
}

class Compression : public testing::TestWithParam<CompressionType> {};

TEST_P(Compression, WhatWasCompressedReadsTheSame) {
  for (std::uint64_t seed = 1; seed < 40; ++seed) {
    const auto cluster = text_cluster(seed);
    const auto payload = compressed(GetParam(), cluster);
    ASSERT_LT(payload.size(), cluster_bytes / 2);
    std::vector<std::byte> back(cluster_bytes);
    ASSERT_TRUE(format::decompress_cluster(GetParam(), payload, back));
    ASSERT_EQ(back, cluster);
  }
}

TEST_P(Compression, NoiseIsNotMadeLarger) {
  SimulatedRandom random(7);
  std::vector<std::byte> noise(cluster_bytes);
  for (std::byte& byte : noise) byte = static_cast<std::byte>(random.below(256));
  EXPECT_TRUE(compressed(GetParam(), noise).empty());
}

INSTANTIATE_TEST_SUITE_P(Types, Compression, testing::Values(CompressionType::deflate, CompressionType::zstd));

}  // namespace
}  // namespace byre::test
