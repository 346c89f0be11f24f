#include "format/compression.h"

#include <gtest/gtest.h>

#include <algorithm>
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

TEST_P(Compression, WhatDoesNotFitIsNotCompressed) {
  const auto cluster = text_cluster(3);
  const auto payload = compressed(GetParam(), cluster);
  std::vector<std::byte> room(payload.size() + 4096);
  EXPECT_EQ(format::compress_cluster(GetParam(), cluster, room), payload.size());
  for (const std::size_t less : {std::size_t{1}, std::size_t{9}, payload.size() / 2}) {
    EXPECT_EQ(format::compress_cluster(GetParam(), cluster, Bytes(room).first(payload.size() - less)), 0u);
  }
}

TEST_P(Compression, APayloadThatEndsEarlyIsRefused) {
  const auto payload = compressed(GetParam(), text_cluster(4));
  std::vector<std::byte> back(cluster_bytes);
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, payload.size() / 2, payload.size() - 10}) {
    EXPECT_FALSE(format::decompress_cluster(GetParam(), ConstBytes(payload).first(length), back)) << length;
  }
  std::vector<std::byte> larger(cluster_bytes + 1);
  EXPECT_FALSE(format::decompress_cluster(GetParam(), payload, larger));
}

// docs/format.md section 8: a deflate stream may go on behind the cluster's end, a zstd frame may not.
TEST_P(Compression, OnlyDeflateStreamsMayBeLongerThanTheCluster) {
  const auto cluster = text_cluster(5);
  const auto payload = compressed(GetParam(), cluster);
  std::vector<std::byte> back(cluster_bytes / 2);
  const bool is_deflate = GetParam() == CompressionType::deflate;
  ASSERT_EQ(format::decompress_cluster(GetParam(), payload, back).has_value(), is_deflate);
  if (is_deflate) {
    EXPECT_TRUE(std::ranges::equal(back, ConstBytes(cluster).first(back.size())));
  }
}

TEST(ZstdCompression, FramesFollowOneAnother) {
  const auto cluster = text_cluster(6);
  const auto half = [&cluster](std::size_t from) {
    std::vector<std::byte> payload(cluster_bytes);
    const ConstBytes part = ConstBytes(cluster).subspan(from, cluster_bytes / 2);
    payload.resize(format::compress_cluster(CompressionType::zstd, part, payload));
    return payload;
  };
  // A frame that may be skipped (RFC 8878, section 3.1.2), with 4 bytes in it: it makes no output.
  const unsigned char skipped[] = {0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4};
  std::vector<std::byte> payload(reinterpret_cast<const std::byte*>(skipped),
                                 reinterpret_cast<const std::byte*>(skipped) + sizeof skipped);
  for (const std::size_t from : {std::size_t{0}, cluster_bytes / 2}) {
    const auto frame = half(from);
    payload.insert(payload.end(), frame.begin(), frame.end());
  }
  std::vector<std::byte> back(cluster_bytes);
  ASSERT_TRUE(format::decompress_cluster(CompressionType::zstd, payload, back));
  EXPECT_EQ(back, cluster);
}

INSTANTIATE_TEST_SUITE_P(Types, Compression, testing::Values(CompressionType::deflate, CompressionType::zstd));

}  // namespace
}  // namespace byre::test
