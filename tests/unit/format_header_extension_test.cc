// The extension area, encode_header(), and both together.
#include <gtest/gtest.h>

#include <random>

#include "format/header.h"
#include "support/sanitized.h"
#include "unit/format_samples.h"

namespace byre::format {
namespace {

constexpr std::size_t area_at = 112;

// A version-3 header of one 64 KiB cluster with the given bytes as its extension area.
Result<Header> decode_area(std::string_view hex, std::uint64_t backing_offset = 0, unsigned cluster_bits = 16) {
  std::vector<std::byte> cluster = first_cluster(sample_header(3, cluster_bits));
  const std::vector<std::byte> area = from_hex(hex);
  std::copy(area.begin(), area.end(), cluster.begin() + area_at);
  patch64(cluster, 8, backing_offset);
  return decode_header(cluster, huge_file_bytes, HeaderUse::write);
}

void expect_refused(const Result<Header>& result, std::string_view fragment) {
  ASSERT_FALSE(result.has_value()) << fragment;
  EXPECT_EQ(result.error().code(), ErrorCode::corrupt);
  EXPECT_NE(result.error().message().find(fragment), std::string::npos) << result.error().message();
}

// docs/format.md section 5.
TEST(HeaderExtensions, AreReadInAnyOrder) {
  const Header header = decode_area(
                            "00000005 00000003 61626300 00000000"
                            "44415441 00000005 612e7261 77000000"
                            "e2792aca 00000003 72617700 00000000"
                            "00000003 00000000"
                            "00000000 00000000 deadbeef")
                            .value();
  EXPECT_EQ(header.data_file_name, "a.raw");
  EXPECT_EQ(header.backing_format, "raw");
  const std::vector<UnknownExtension> unknown = {{5, bytes_of("abc")}, {3, {}}};
  EXPECT_EQ(header.unknown_extensions, unknown);
}

TEST(HeaderExtensions, MayEndWithTheAreaInsteadOfAnEnd) {
  EXPECT_EQ(decode_area("e2792aca 00000005 71636f77 32000000", area_at + 16).value().backing_format, "qcow2");
  EXPECT_EQ(decode_area("e2792aca 00000008 71636f77 32326162", area_at + 16).value().backing_format, "qcow22ab");
  EXPECT_TRUE(decode_area("", area_at).has_value());
  // The padding may be missing.
  EXPECT_EQ(decode_area("e2792aca 00000005 71636f77 32000000", area_at + 13).value().backing_format, "qcow2");
}

// docs/format.md H-37.
TEST(HeaderExtensions, RefusesOnesThatPassTheEndOfTheArea) {
  expect_refused(decode_area("00000005 ffffffff"), "4294967295 bytes");
  expect_refused(decode_area("00000005 0000ff89"), "only 65416 remain");
  EXPECT_TRUE(decode_area("00000005 0000ff88").has_value());
  expect_refused(decode_area("00000005 00000005 61626364 65000000", area_at + 12), "only 4 remain");
  expect_refused(decode_area("00000005 00000000", area_at + 7), "stray bytes");
  expect_refused(decode_area("00000005 00000000 00000000", area_at + 9), "1 stray bytes");
}

// docs/format.md H-37: the engine's cap.
TEST(HeaderExtensions, AtMost64AreAccepted) {
  std::string area;
  for (unsigned i = 0; i < 64; ++i) area += "00000005 00000000";
  EXPECT_EQ(decode_area(area).value().unknown_extensions.size(), 64u);
  expect_refused(decode_area(area + "00000005 00000000"), "more than 64");
}

TEST(HeaderExtensions, RefusesDuplicatesOfKnownTypes) {
  for (const std::string one : {"e2792aca 00000003 72617700 00000000", "44415441 00000003 72617700 00000000",
                                "6803f857 00000000", "0537be77 00000010 0000000000040000 0000000000001000",
                                "23852875 00000018 00000001 00000000"
                                "0000000000000020 0000000000040000"}) {
    ASSERT_FALSE(decode_area(one + one).has_value()) << one;
    EXPECT_EQ(decode_area(one + one).error().code(), ErrorCode::corrupt);
  }
  EXPECT_EQ(decode_area("00000005 00000000 00000005 00000000").value().unknown_extensions.size(), 2u);
}

TEST(HeaderExtensions, BoundsTheBackingFormatAndRefusesNulBytes) {
  EXPECT_EQ(decode_area("e2792aca 0000000f 61616161 61616161 61616161 61616100").value().backing_format,
            std::string(15, 'a'));
  expect_refused(decode_area("e2792aca 00000010 61616161 61616161 61616161 61616161"), "16 bytes");
  expect_refused(decode_area("e2792aca 00000003 61006200 00000000"), "a\\x00b");
  expect_refused(decode_area("44415441 00000003 61006200 00000000"), "a\\x00b");
}

// A name of no bytes names nothing: it must not pass for a recorded format (H-51).
TEST(HeaderExtensions, AnEmptyNameIsAbsent) {
  const Header header = decode_area("e2792aca 00000000 44415441 00000000").value();
  EXPECT_EQ(header.backing_format, std::nullopt);
  EXPECT_EQ(header.data_file_name, std::nullopt);
}

// docs/format.md section 3.6: `create -b b.qcow2 -F qcow2` with 64 KiB clusters.
TEST(EncodeHeader, LaysOutTheWorkedHeaderAsOtherToolsDo) {
  Header header = sample_header(3, 16);
  header.backing_format = "qcow2";
  header.backing_name = "b.qcow2";
  header.feature_names = default_feature_names(3, 16);
  const std::vector<std::byte> bytes = encode_header(header).value();
  EXPECT_EQ(bytes.size(), 535u);
  EXPECT_EQ(load_be64(bytes.data() + 8), 0x210u);
  EXPECT_EQ(load_be32(bytes.data() + 16), 7u);
  EXPECT_EQ(load_be32(bytes.data() + 96), 4u);
  EXPECT_EQ(load_be32(bytes.data() + 100), 0x70u);
  const auto part = [&](std::ptrdiff_t from, std::ptrdiff_t to) {
    return std::vector<std::byte>(bytes.begin() + from, bytes.begin() + to);
  };
  EXPECT_EQ(part(112, 128), from_hex("e2792aca 00000005 71636f77 32000000"));
  EXPECT_EQ(part(128, 136), from_hex("6803f857 00000180"));
  EXPECT_EQ(part(136, 520), encode_feature_names(standard_feature_names()));
  EXPECT_EQ(part(520, 528), from_hex("00000000 00000000"));
  EXPECT_EQ(part(528, 535), bytes_of("b.qcow2"));
}

// docs/format.md section 3.6: the same with 512-byte clusters, versions 2 and 3.
TEST(EncodeHeader, LaysOutTheWorkedSmallHeaders) {
  for (const unsigned version : {2u, 3u}) {
    Header header = sample_header(version, 9);
    header.backing_format = "qcow2";
    header.backing_name = "b.qcow2";
    header.feature_names = default_feature_names(version, 9);
    const std::vector<std::byte> bytes = encode_header(header).value();
    const std::size_t at = version == 2 ? 72 : 112;
    EXPECT_EQ(load_be32(bytes.data() + at), 0xe2792acau);
    EXPECT_EQ(load_be64(bytes.data() + at + 16), 0u);
    EXPECT_EQ(load_be64(bytes.data() + 8), at + 24);
    EXPECT_EQ(bytes.size(), at + 24 + 7);
  }
}

// The header cluster of `create -f qcow2 d.qcow2 1G`, docs/format.md section 2, written out in full.
TEST(EncodeHeader, WritesAFreshImagesHeaderByteForByte) {
  Header header = sample_header(3, 16);
  header.virtual_size_bytes = std::uint64_t{1} << 30;
  header.l1_entries = 2;
  const std::vector<std::byte> expected = from_hex(
      "514649fb 00000003 0000000000000000 00000000 00000010 0000000040000000 00000000 00000002 0000000000030000"
      "0000000000010000 00000001 00000000 0000000000000000"
      "0000000000000000 0000000000000000 0000000000000000 00000004 00000070 0000000000000000"
      "00000000 00000000");
  EXPECT_EQ(encode_header(header).value(), expected);
  EXPECT_EQ(decode_header(first_cluster(header), 0x30010, HeaderUse::write).value(), header);
}

TEST(EncodeHeader, OrdersExtensionsAsOtherToolsDo) {
  Header header = sample_header(3, 16);
  header.crypt_method = CryptMethod::luks;
  header.backing_format = "raw";
  header.data_file_name = "d";
  header.encryption = EncryptionPointer{HostOffset(0x40000), 0x1f9000};
  header.feature_names = FeatureNameTable{};
  header.bitmaps = BitmapsExtension{1, 0, 32, HostOffset(0x80000)};
  header.unknown_extensions = {{9, {}}, {7, {}}};
  const std::vector<std::byte> bytes = encode_header(header).value();
  std::vector<std::uint32_t> types;
  for (std::size_t at = area_at; at < bytes.size(); at += 8 + round_up(load_be32(bytes.data() + at + 4), 8)) {
    types.push_back(load_be32(bytes.data() + at));
  }
  const std::vector<std::uint32_t> expected = {0xe2792aca, 0x44415441, 0x0537be77, 0x6803f857, 0x23852875, 9, 7, 0};
  EXPECT_EQ(types, expected);
}

// docs/format.md section 3.5: a 1023-byte backing name cannot be stored at C=512.
TEST(EncodeHeader, FailsIfTheHeaderExceedsACluster) {
  Header header = sample_header(3, 9);
  header.backing_name = std::string(512 - 120, 'b');
  EXPECT_EQ(encode_header(header).value().size(), 512u);
  header.backing_name += 'b';
  EXPECT_EQ(encode_header(header).error().code(), ErrorCode::no_space);
  header.backing_name = std::string(1023, 'b');
  EXPECT_EQ(encode_header(header).error().code(), ErrorCode::no_space);
}

TEST(EncodeHeader, RefusesFieldsThatNoReaderWouldAccept) {
  const auto refused = [](unsigned version, auto change) {
    Header header = sample_header(version, 16);
    change(header);
    const auto bytes = encode_header(header);
    return !bytes.has_value() && bytes.error().code() == ErrorCode::invalid_argument;
  };
  EXPECT_TRUE(refused(3, [](Header& h) { h.backing_name = std::string(1024, 'b'); }));
  EXPECT_TRUE(refused(3, [](Header& h) { h.backing_name = std::string("a\0b", 3); }));
  EXPECT_TRUE(refused(3, [](Header& h) { h.backing_format = std::string(16, 'f'); }));
  EXPECT_TRUE(refused(3, [](Header& h) { h.data_file_name = std::string("a\0b", 3); }));
  EXPECT_TRUE(refused(3, [](Header& h) { h.header_length = 105; }));
  EXPECT_TRUE(refused(3, [](Header& h) { h.header_length = 72; }));
  EXPECT_TRUE(refused(3, [](Header& h) { h.unknown_fields.resize(8); }));
  EXPECT_TRUE(refused(3, [](Header& h) { h.compression_type = CompressionType::zstd; }));
  EXPECT_TRUE(refused(3, [](Header& h) { h.incompatible_features = incompatible::compression_type; }));
  EXPECT_TRUE(refused(3, [](Header& h) {
    h.header_length = 104;
    h.incompatible_features = incompatible::compression_type;
    h.compression_type = CompressionType::zstd;
  }));
  EXPECT_TRUE(refused(3, [](Header& h) { h.crypt_method = CryptMethod::luks; }));
  EXPECT_TRUE(refused(3, [](Header& h) { h.encryption = EncryptionPointer{}; }));
  EXPECT_TRUE(refused(2, [](Header& h) { h.compatible_features = 1; }));
  EXPECT_TRUE(refused(2, [](Header& h) { h.refcount_order = 3; }));
  EXPECT_TRUE(refused(2, [](Header& h) { h.header_length = 112; }));
  EXPECT_FALSE(refused(3, [](Header& h) { h.unknown_fields.resize(7); }));
}

std::string random_text(std::mt19937_64& random, std::uint64_t limit) {
  std::string text(random() % (limit + 1), 'x');
  for (char& c : text) c = static_cast<char>(1 + random() % 255);
  return text;
}

Header random_header(std::mt19937_64& random) {
  const unsigned version = random() % 4 == 0 ? 2 : 3;
  Header header = sample_header(version, 12 + static_cast<unsigned>(random() % 10));
  header.backing_name = random_text(random, random() % 2 == 0 ? 0 : 1023);
  if (random() % 2 == 0) header.backing_format = "f" + random_text(random, 14);
  if (random() % 2 == 0) header.data_file_name = "d" + random_text(random, 200);
  for (std::uint64_t i = random() % 4; i > 0; --i) {
    header.unknown_extensions.push_back(
        {static_cast<std::uint32_t>(1 + random() % 1000), bytes_of(random_text(random, 40))});
  }
  if (random() % 3 == 0) {
    header.crypt_method = CryptMethod::luks;
    header.encryption = EncryptionPointer{HostOffset(std::uint64_t{1} << 30), 592 + random() % 100000};
  }
  if (version == 2) return header;
  header.compatible_features = random();
  header.autoclear_features = random() & ~autoclear::bitmaps;
  header.incompatible_features = random() & incompatible::dirty;
  header.refcount_order = static_cast<unsigned>(random() % 7);
  header.feature_names = default_feature_names(version, header.cluster_bits);
  header.header_length = static_cast<std::uint32_t>(104 + random() % 4 * 8);
  if (header.header_length > 105 && random() % 2 == 0) {
    header.unknown_fields.assign(1 + random() % (header.header_length - 105), std::byte{0x5a});
    header.incompatible_features |= incompatible::compression_type;
    header.compression_type = CompressionType::zstd;
  }
  if (random() % 2 == 0) {
    header.bitmaps = BitmapsExtension{1, 0, 32, HostOffset(std::uint64_t{1} << 31)};
    header.autoclear_features |= autoclear::bitmaps;
  }
  return header;
}

TEST(EncodeHeader, DecodingAndEncodingAreInverseForRandomHeaders) {
  std::mt19937_64 random(17);
  for (unsigned round = 0; round < test::examples(1000); ++round) {
    const Header header = random_header(random);
    const std::vector<std::byte> cluster = first_cluster(header);
    Header decoded = decode_header(cluster, huge_file_bytes, HeaderUse::write).value();
    ASSERT_EQ(first_cluster(decoded), cluster);
    decoded.backing_name_offset = 0;
    ASSERT_EQ(decoded, header);
  }
}

}  // namespace
}  // namespace byre::format
