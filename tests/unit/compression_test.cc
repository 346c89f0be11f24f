#include "format/compression.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "byre/storage/simulated.h"
#include "support/sanitized.h"

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

struct Method {
  CompressionType type;
  int level;
};

std::vector<std::byte> compressed(Method method, ConstBytes cluster) {
  std::vector<std::byte> payload(cluster.size() - 1);
  payload.resize(format::compress_cluster(method.type, method.level, cluster, payload));
  return payload;
}

class Compression : public testing::TestWithParam<Method> {};

TEST_P(Compression, WhatWasCompressedReadsTheSame) {
  for (std::uint64_t seed = 1; seed < 40; ++seed) {
    const auto cluster = text_cluster(seed);
    const auto payload = compressed(GetParam(), cluster);
    ASSERT_LT(payload.size(), cluster_bytes / 2);
    std::vector<std::byte> back(cluster_bytes);
    ASSERT_TRUE(format::decompress_cluster(GetParam().type, payload, back));
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
  EXPECT_EQ(format::compress_cluster(GetParam().type, GetParam().level, cluster, room), payload.size());
  for (const std::size_t less : {std::size_t{1}, std::size_t{9}, payload.size() / 2}) {
    EXPECT_EQ(
        format::compress_cluster(GetParam().type, GetParam().level, cluster, Bytes(room).first(payload.size() - less)),
        0u);
  }
}

TEST_P(Compression, APayloadThatEndsEarlyIsRefused) {
  const auto payload = compressed(GetParam(), text_cluster(4));
  std::vector<std::byte> back(cluster_bytes);
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, payload.size() / 2, payload.size() - 10}) {
    EXPECT_FALSE(format::decompress_cluster(GetParam().type, ConstBytes(payload).first(length), back)) << length;
  }
  std::vector<std::byte> larger(cluster_bytes + 1);
  EXPECT_FALSE(format::decompress_cluster(GetParam().type, payload, larger));
}

// docs/format.md section 8: a deflate stream may go on behind the cluster's end, a zstd frame may not.
TEST_P(Compression, OnlyDeflateStreamsMayBeLongerThanTheCluster) {
  const auto cluster = text_cluster(5);
  const auto payload = compressed(GetParam(), cluster);
  std::vector<std::byte> back(cluster_bytes / 2);
  const bool is_deflate = GetParam().type == CompressionType::deflate;
  ASSERT_EQ(format::decompress_cluster(GetParam().type, payload, back).has_value(), is_deflate);
  if (is_deflate) {
    EXPECT_TRUE(std::ranges::equal(back, ConstBytes(cluster).first(back.size())));
  }
}

TEST(ZstdCompression, FramesFollowOneAnother) {
  const auto cluster = text_cluster(6);
  const auto half = [&cluster](std::size_t from) {
    std::vector<std::byte> payload(cluster_bytes);
    const ConstBytes part = ConstBytes(cluster).subspan(from, cluster_bytes / 2);
    payload.resize(format::compress_cluster(CompressionType::zstd, 0, part, payload));
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

// Bytes of every kind of redundancy, of any length: runs, copies from near and far, text, noise.
std::vector<std::byte> mixed_content(SimulatedRandom& random, std::size_t length) {
  std::vector<std::byte> content;
  while (content.size() < length) {
    const std::size_t count = 1 + random.below(700);
    const std::size_t distance = content.empty() ? 0 : 1 + random.below(std::min<std::size_t>(content.size(), 9000));
    const auto kind = random.below(4);
    const auto byte = static_cast<std::byte>(random.below(256));
    for (std::size_t i = 0; i < count; ++i) {
      if (kind == 0 && distance > 0) {
        content.push_back(content[content.size() - distance]);
      } else {
        content.push_back(kind == 1 ? byte : static_cast<std::byte>(random.below(kind == 2 ? 256 : 12)));
      }
    }
  }
  content.resize(length);
  return content;
}

TEST_P(Compression, ContentOfAnyKindAndLengthReadsTheSame) {
  SimulatedRandom random(11);
  for (int i = 0; i < 300; ++i) {
    const std::size_t length = i < 100 ? 2 + static_cast<std::size_t>(i) : std::size_t{512} << random.below(9);
    const auto content = mixed_content(random, length);
    const auto payload = compressed(GetParam(), content);
    if (payload.empty()) continue;
    std::vector<std::byte> back(length);
    ASSERT_TRUE(format::decompress_cluster(GetParam().type, payload, back)) << i;
    ASSERT_EQ(back, content) << i;
  }
}

// Whatever the encoder has seen before, as it stays with its thread.
TEST_P(Compression, EqualClustersMakeEqualPayloads) {
  SimulatedRandom random(12);
  const auto cluster = mixed_content(random, cluster_bytes);
  const auto first = compressed(GetParam(), cluster);
  for (int i = 0; i < 20; ++i) {
    (void)compressed(GetParam(), mixed_content(random, 512 + random.below(cluster_bytes)));
    ASSERT_EQ(compressed(GetParam(), cluster), first);
  }
}

// ISA-L by itself breaks it once in some thousand short clusters.
TEST(DeflateCompression, EqualClustersMakeEqualPayloadsInEveryThread) {
  SimulatedRandom random(14);
  std::vector<std::byte> content;
  for (std::uint64_t seed = 0; content.size() < examples(2 << 20); ++seed) {
    const auto more = text_cluster(seed);
    content.insert(content.end(), more.begin(), more.begin() + 1000);
    const auto noise = mixed_content(random, 100);
    content.insert(content.end(), noise.begin(), noise.end());
  }
  const auto compress_all = [&content](int level) {
    std::vector<std::vector<std::byte>> payloads;
    for (std::size_t at = 0; at + 512 <= content.size(); at += 512) {
      payloads.push_back(compressed({CompressionType::deflate, level}, ConstBytes(content).subspan(at, 512)));
    }
    return payloads;
  };
  for (const int level : {1, 2, 3}) {
    const auto here = compress_all(level);
    std::vector<std::vector<std::byte>> there;
    std::thread([&] { there = compress_all(level); }).join();
    ASSERT_EQ(there, here) << level;
  }
}

// docs/format.md 8.3: a reader keeps the last 4 KiB of what it has decoded, and no more.
void expect_readable_with_a_small_window(ConstBytes payload, ConstBytes content) {
  z_stream stream{};
  ASSERT_EQ(inflateInit2(&stream, -12), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(payload.data()));
  stream.avail_in = static_cast<uInt>(payload.size());
  std::vector<std::byte> back;
  int result = Z_OK;
  while (result == Z_OK) {
    std::byte piece[256];  // what was decoded is out of the decoder's reach, but for its window
    stream.next_out = reinterpret_cast<Bytef*>(piece);
    stream.avail_out = sizeof piece;
    result = inflate(&stream, Z_SYNC_FLUSH);
    back.insert(back.end(), piece, piece + (sizeof piece - stream.avail_out));
  }
  inflateEnd(&stream);
  EXPECT_EQ(result, Z_STREAM_END) << (stream.msg ? stream.msg : "");
  EXPECT_TRUE(std::ranges::equal(back, content));
}

TEST_P(Compression, DeflateDistancesStayWithinFourKibibytes) {
  if (GetParam().type != CompressionType::deflate) return;
  SimulatedRandom random(13);
  for (int i = 0; i < 20; ++i) {
    const auto content = mixed_content(random, cluster_bytes);
    expect_readable_with_a_small_window(compressed(GetParam(), content), content);
  }
}

std::size_t zlib_bytes(ConstBytes cluster) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY), Z_OK);
  std::vector<std::byte> target(2 * cluster.size());
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(cluster.data()));
  stream.avail_in = static_cast<uInt>(cluster.size());
  stream.next_out = reinterpret_cast<Bytef*>(target.data());
  stream.avail_out = static_cast<uInt>(target.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  const std::size_t size = stream.total_out;
  deflateEnd(&stream);
  return size;
}

TEST(CompressionLevels, HigherOnesOfDeflateMakeSmallerPayloads) {
  std::vector<std::size_t> sizes(format::most_level + 1);
  std::size_t of_zlib = 0;
  for (std::uint64_t seed = 1; seed < 20; ++seed) {
    const auto cluster = text_cluster(seed);
    of_zlib += zlib_bytes(cluster);
    for (int level = 1; level <= format::most_level; ++level) {
      sizes[static_cast<std::size_t>(level)] += compressed({CompressionType::deflate, level}, cluster).size();
    }
  }
  for (std::size_t i = 2; i < sizes.size(); ++i) EXPECT_LE(sizes[i], sizes[i - 1]) << testing::PrintToString(sizes);
  EXPECT_LT(sizes[3], sizes[2]);
  EXPECT_LT(sizes[9], sizes[4]);
  EXPECT_LE(sizes[7], of_zlib);
}

TEST(CompressionLevels, ZeroIsTheDefault) {
  for (const auto type : {CompressionType::deflate, CompressionType::zstd}) {
    const auto cluster = text_cluster(1);
    EXPECT_EQ(compressed({type, 0}, cluster), compressed({type, format::default_compression_level(type)}, cluster));
  }
}

std::vector<Method> all_methods() {
  std::vector<Method> methods;
  for (const auto type : {CompressionType::deflate, CompressionType::zstd}) {
    for (int level = 0; level <= format::most_level; ++level) methods.push_back({type, level});
  }
  return methods;
}

std::string method_name(const testing::TestParamInfo<Method>& info) {
  return (info.param.type == CompressionType::zstd ? "zstd" : "deflate") + std::to_string(info.param.level);
}

INSTANTIATE_TEST_SUITE_P(Methods, Compression, testing::ValuesIn(all_methods()), method_name);

}  // namespace
}  // namespace byre::test
