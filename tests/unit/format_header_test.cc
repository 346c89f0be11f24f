// decode_header(): what it reads, and each refusal that docs/format.md section 24 demands.
#include <gtest/gtest.h>

#include <functional>

#include "format/header.h"
#include "unit/format_samples.h"

namespace byre::format {
namespace {

using Patch = std::function<void(std::vector<std::byte>&)>;
constexpr HeaderUse all_uses[] = {HeaderUse::read, HeaderUse::write, HeaderUse::inspect, HeaderUse::repair};
// A repair can do without snapshot table and bitmaps.
constexpr HeaderUse uses_but_repair[] = {HeaderUse::read, HeaderUse::write, HeaderUse::inspect};

Result<Header> decode(const std::vector<std::byte>& cluster, HeaderUse use = HeaderUse::read,
                      std::uint64_t file_size_bytes = huge_file_bytes) {
  return decode_header(cluster, file_size_bytes, use);
}

Result<Header> decode_patched(const Header& header, const Patch& patch, HeaderUse use = HeaderUse::read) {
  std::vector<std::byte> cluster = first_cluster(header);
  patch(cluster);
  return decode(cluster, use);
}

void expect_refused(const Result<Header>& result, ErrorCode code, std::string_view fragment) {
  ASSERT_FALSE(result.has_value()) << fragment;
  EXPECT_EQ(result.error().code(), code) << result.error().message();
  EXPECT_NE(result.error().message().find(fragment), std::string::npos) << result.error().message();
}

// Refused whatever the header is wanted for.
void expect_always_refused(const Patch& patch, ErrorCode code, std::string_view fragment, unsigned cluster_bits = 16) {
  for (const HeaderUse use : all_uses) {
    expect_refused(decode_patched(sample_header(3, cluster_bits), patch, use), code, fragment);
  }
}

Patch set32(std::size_t at, std::uint32_t value) {
  return [=](std::vector<std::byte>& bytes) { patch32(bytes, at, value); };
}
Patch set64(std::size_t at, std::uint64_t value) {
  return [=](std::vector<std::byte>& bytes) { patch64(bytes, at, value); };
}

TEST(QcowMagic, IsFollowedByAVersionOfTwoOrMore) {
  EXPECT_TRUE(is_qcow2_magic(from_hex("514649fb 00000002")));
  EXPECT_TRUE(is_qcow2_magic(from_hex("514649fb 00000004")));
  EXPECT_FALSE(is_qcow2_magic(from_hex("514649fb 00000001")));
  EXPECT_FALSE(is_qcow2_magic(from_hex("514649fa 00000003")));
  EXPECT_FALSE(is_qcow2_magic(from_hex("514649fb 000000")));
  EXPECT_FALSE(is_qcow2_magic({}));
}

TEST(PeekClusterBits, NeedsTheFixedFieldsOfTheVersion) {
  for (const unsigned version : {2u, 3u}) {
    std::vector<std::byte> bytes = first_cluster(sample_header(version, 12));
    const std::size_t needed = version == 2 ? 72 : 104;
    EXPECT_EQ(peek_cluster_bits(ConstBytes(bytes).first(needed)).value(), 12u);
    EXPECT_EQ(peek_cluster_bits(ConstBytes(bytes).first(needed - 1)).error().code(), ErrorCode::corrupt);
  }
}

TEST(PeekClusterBits, RefusesOtherVersions) {
  std::vector<std::byte> bytes = first_cluster(sample_header(3, 16));
  patch32(bytes, 4, 4);
  EXPECT_EQ(peek_cluster_bits(bytes).error().code(), ErrorCode::unsupported);
  patch32(bytes, 4, 1);
  EXPECT_EQ(peek_cluster_bits(bytes).error().code(), ErrorCode::unsupported);
}

// docs/format.md H-8.
TEST(PeekClusterBits, RefusesClustersOutsideTheLimits) {
  std::vector<std::byte> bytes = first_cluster(sample_header(3, 16));
  for (const std::uint32_t bits : {0u, 8u, 22u, 31u, 64u, 0xffff'ffffu}) {
    patch32(bytes, 20, bits);
    EXPECT_EQ(peek_cluster_bits(bytes).error().code(), ErrorCode::corrupt) << bits;
    expect_refused(decode(bytes), ErrorCode::corrupt, "cluster_bits");
  }
  for (std::uint32_t bits = 9; bits <= 21; ++bits) {
    patch32(bytes, 20, bits);
    EXPECT_EQ(peek_cluster_bits(bytes).value(), bits);
  }
}

TEST(DecodeHeader, ReadsEveryClusterSizeInBothVersionsForEveryUse) {
  for (unsigned bits = min_cluster_bits; bits <= max_cluster_bits; ++bits) {
    for (const unsigned version : {2u, 3u}) {
      for (const HeaderUse use : all_uses) {
        const Header header = sample_header(version, bits);
        EXPECT_EQ(decode(first_cluster(header), use).value(), header);
      }
    }
  }
}

TEST(DecodeHeader, TakesGeometryFromTheFields) {
  Header header = sample_header(3, 14);
  header.incompatible_features = incompatible::extended_l2 | incompatible::external_data_file;
  header.refcount_order = 6;
  header.l1_entries = 2;
  const Geometry expected = {3, 14, 6, true, true};
  EXPECT_EQ(decode(first_cluster(header)).value().geometry(), expected);
}

// docs/format.md section 3.1: 1000001 becomes 999936.
TEST(DecodeHeader, RoundsTheVirtualSizeDownToSectors) {
  EXPECT_EQ(decode_patched(sample_header(3, 16), set64(24, 1000001)).value().virtual_size_bytes, 999936u);
}

TEST(DecodeHeader, ReadsAFileThatEndsInItsFirstClusterOnlyToInspectOrRepair) {
  std::vector<std::byte> bytes = first_cluster(sample_header(3, 16));
  bytes.resize(200);
  EXPECT_TRUE(decode(bytes, HeaderUse::inspect, 200).has_value());
  expect_refused(decode(bytes, HeaderUse::read, 200), ErrorCode::corrupt, "end of the file");
}

TEST(DecodeHeader, RefusesAFileThatEndsInsideItsHeaderOrBeforeItsBackingName) {
  std::vector<std::byte> bytes = first_cluster(sample_header(3, 16));
  bytes.resize(200);
  patch32(bytes, 100, 208);
  expect_refused(decode(bytes, HeaderUse::inspect, 200), ErrorCode::corrupt, "after 200 of 208 bytes");
  patch32(bytes, 100, 112);
  patch64(bytes, 8, 201);
  expect_refused(decode(bytes, HeaderUse::inspect, 200), ErrorCode::corrupt, "ends before its backing file");
  for (const std::uint64_t file_size_bytes : {0u, 7u, 71u, 103u}) {
    EXPECT_FALSE(decode(bytes, HeaderUse::inspect, file_size_bytes).has_value());
  }
}

TEST(DecodeHeader, ReportsAFileThatShrankWhileItWasRead) {
  const std::vector<std::byte> bytes = first_cluster(sample_header(3, 16));
  expect_refused(decode_header(ConstBytes(bytes).first(4096), huge_file_bytes, HeaderUse::read), ErrorCode::io,
                 "could be read");
}

// docs/format.md H-9.
TEST(DecodeHeader, RefusesImpossibleHeaderLengths) {
  for (const std::uint32_t length : {0u, 72u, 96u, 103u, 105u, 111u, 65544u, 0xffff'fff8u}) {
    expect_always_refused(set32(100, length), ErrorCode::corrupt, "header length");
  }
  for (const std::uint32_t length : {104u, 112u, 65536u}) {
    EXPECT_EQ(decode_patched(sample_header(3, 16), set32(100, length)).value().header_length, length);
  }
}

// docs/format.md section 3.3, I-41.
TEST(DecodeHeader, KeepsUnknownFields) {
  Header header = sample_header(3, 16);
  header.header_length = 136;
  header.unknown_fields = from_hex("00000000000001 aa00000000000000 00bb");
  const Header decoded = decode(first_cluster(header)).value();
  EXPECT_EQ(decoded, header);
  EXPECT_EQ(first_cluster(decoded), first_cluster(header));
}

// docs/format.md H-10.
TEST(DecodeHeader, RefusesABackingNameOutsideTheFreePartOfTheHeaderCluster) {
  for (const std::uint64_t offset : {std::uint64_t{1}, std::uint64_t{104}, std::uint64_t{111}, std::uint64_t{65537},
                                     std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    expect_always_refused(set64(8, offset), ErrorCode::corrupt, "backing file's name");
  }
  const auto name_at = [](std::uint64_t offset, std::uint32_t length) {
    return [=](std::vector<std::byte>& bytes) {
      patch64(bytes, 8, offset);
      patch32(bytes, 16, length);
      std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(offset), bytes.end(), std::byte{'b'});
    };
  };
  const Header header = sample_header(3, 16);
  EXPECT_EQ(decode_patched(header, name_at(112, 1023)).value().backing_name, std::string(1023, 'b'));
  expect_refused(decode_patched(header, name_at(112, 1024)), ErrorCode::corrupt, "1024 bytes");
  EXPECT_EQ(decode_patched(header, name_at(65536 - 5, 5)).value().backing_name, "bbbbb");
  expect_refused(decode_patched(header, name_at(65536 - 5, 6)), ErrorCode::corrupt, "6 bytes");
  EXPECT_EQ(decode_patched(header, name_at(65536, 0)).value().backing_name, "");
  expect_refused(decode_patched(header, name_at(112, 0xffff'ffff)), ErrorCode::corrupt, "4294967295 bytes");
}

TEST(DecodeHeader, IgnoresTheBackingNamesLengthWithoutAnOffset) {
  EXPECT_EQ(decode_patched(sample_header(3, 16), set32(16, 0xffff'ffff)).value().backing_name, "");
}

TEST(DecodeHeader, RefusesNulBytesInNames) {
  Header header = sample_header(3, 16);
  header.backing_name = "a-b";
  const std::size_t at = decode(first_cluster(header)).value().backing_name_offset + 1;
  expect_refused(decode_patched(header, [=](auto& bytes) { bytes[at] = std::byte{0}; }), ErrorCode::corrupt, "a\\x00b");
}

// docs/format.md H-11.
TEST(DecodeHeader, RefusesVirtualSizesThatTheL1TableCannotMap) {
  for (const std::uint64_t size : {(std::uint64_t{1} << 61) + 512, std::uint64_t{1} << 62,
                                   (std::uint64_t{1} << 63) - 512, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    for (unsigned bits = min_cluster_bits; bits <= max_cluster_bits; ++bits) {
      expect_always_refused(set64(24, size), ErrorCode::corrupt, "clusters can map", bits);
    }
  }
  const std::uint64_t reach = sample_header(3, 16).geometry().guest_bytes_per_l2();
  EXPECT_TRUE(decode_patched(sample_header(3, 16), set64(24, reach)).has_value());
  expect_always_refused(set64(24, reach + 512), ErrorCode::corrupt, "needs 2 L1 entries");
}

// docs/format.md section 21, H-12: the largest L1 table is accepted for every cluster size, and maps the largest disk.
TEST(DecodeHeader, AcceptsTheLargestL1TableAndNoLarger) {
  for (unsigned bits = min_cluster_bits; bits <= max_cluster_bits; ++bits) {
    Header header = sample_header(3, bits);
    header.l1_entries = static_cast<std::uint32_t>(max_l1_entries);
    header.virtual_size_bytes = header.geometry().guest_bytes_per_l2() * max_l1_entries;
    EXPECT_EQ(decode(first_cluster(header)).value(), header);
  }
  expect_always_refused(set32(36, max_l1_entries + 1), ErrorCode::corrupt, "4194305 entries");
  expect_always_refused(set32(36, 0xffff'ffff), ErrorCode::corrupt, "4294967295 entries");
}

// docs/format.md section 2: a disk of size 0.
TEST(DecodeHeader, ADiskOfSizeZeroNeedsNoL1Table) {
  Header header = sample_header(3, 16);
  header.l1_entries = 0;
  header.l1_table = HostOffset(0);
  header.virtual_size_bytes = 0;
  for (const HeaderUse use : all_uses) {
    EXPECT_EQ(decode_header(first_cluster(header), 0x30000, use).value(), header);
  }
}

// docs/format.md H-13.
TEST(DecodeHeader, RefusesUnalignedOrImpossibleTableOffsets) {
  struct Row {
    std::size_t at;
    std::string_view name;
    std::vector<HeaderUse> judged_for;
  };
  const Row rows[] = {{40, "L1 table", {HeaderUse::read, HeaderUse::write, HeaderUse::repair}},
                      {48, "refcount table", {HeaderUse::read, HeaderUse::write}},
                      {64, "snapshot table", {HeaderUse::read, HeaderUse::write, HeaderUse::inspect}}};
  for (const Row& row : rows) {
    for (const std::uint64_t offset :
         {std::uint64_t{0x10200}, std::uint64_t{0x18000}, std::uint64_t{1} << 63, ~std::uint64_t{0xffff}}) {
      for (const HeaderUse use : row.judged_for) {
        expect_refused(decode_patched(sample_header(3, 16), set64(row.at, offset), use), ErrorCode::corrupt, row.name);
      }
    }
  }
}

// docs/format.md H-14, I-17.
TEST(DecodeHeader, RefusesTablesBeyondTheEndOfTheFile) {
  Header header = sample_header(3, 16);
  header.l1_entries = 65536 / 8 + 1;  // two clusters
  const std::vector<std::byte> cluster = first_cluster(header);
  EXPECT_TRUE(decode(cluster, HeaderUse::read, 0x40001).has_value());  // the last cluster may be partial
  for (const HeaderUse use : {HeaderUse::read, HeaderUse::write, HeaderUse::repair}) {
    expect_refused(decode(cluster, use, 0x40000), ErrorCode::corrupt, "L1 table at 0x30000");
  }
  EXPECT_TRUE(decode(cluster, HeaderUse::inspect, 0x40000).has_value());

  header.l1_table = HostOffset(0x10000);
  header.refcount_table = HostOffset(0x30000);
  header.refcount_table_clusters = 2;
  const std::vector<std::byte> moved = first_cluster(header);
  EXPECT_TRUE(decode(moved, HeaderUse::write, 0x40001).has_value());
  for (const HeaderUse use : {HeaderUse::read, HeaderUse::write}) {
    expect_refused(decode(moved, use, 0x40000), ErrorCode::corrupt, "refcount table at 0x30000");
  }
  EXPECT_TRUE(decode(moved, HeaderUse::repair, 0x40000).has_value());

  header = sample_header(3, 16);
  header.snapshot_count = 65536 / 40 + 1;  // two clusters at least
  header.snapshot_table = HostOffset(0x40000);
  const std::vector<std::byte> with_snapshots = first_cluster(header);
  EXPECT_TRUE(decode(with_snapshots, HeaderUse::read, 0x50001).has_value());
  for (const HeaderUse use : uses_but_repair) {
    expect_refused(decode(with_snapshots, use, 0x50000), ErrorCode::corrupt, "snapshot table at 0x40000");
  }
}

// docs/format.md H-15.
TEST(DecodeHeader, RefusesTablesUponTheHeader) {
  expect_refused(decode_patched(sample_header(3, 16), set64(40, 0)), ErrorCode::corrupt, "L1 table lies at offset 0");
  expect_refused(decode_patched(sample_header(3, 16), set64(48, 0)), ErrorCode::corrupt,
                 "refcount table lies at offset 0");
  expect_refused(decode_patched(sample_header(3, 16), set32(60, 1)), ErrorCode::corrupt,
                 "snapshot table lies at offset 0");
}

// docs/format.md H-16, section 21.
TEST(DecodeHeader, BoundsTheRefcountTableForEveryClusterSize) {
  for (unsigned bits = min_cluster_bits; bits <= max_cluster_bits; ++bits) {
    const auto most = static_cast<std::uint32_t>(max_refcount_table_bytes >> bits);
    EXPECT_TRUE(decode_patched(sample_header(3, bits), set32(56, most)).has_value());
    expect_always_refused(set32(56, most + 1), ErrorCode::corrupt, "refcount table", bits);
    expect_always_refused(set32(56, 0xffff'ffff), ErrorCode::corrupt, "refcount table", bits);
  }
  expect_refused(decode_patched(sample_header(3, 16), set32(56, 0)), ErrorCode::corrupt, "no refcount table");
  expect_refused(decode_patched(sample_header(3, 16), set32(56, 0), HeaderUse::write), ErrorCode::corrupt,
                 "no refcount table");
  EXPECT_TRUE(decode_patched(sample_header(3, 16), set32(56, 0), HeaderUse::repair).has_value());
}

// docs/format.md H-17.
TEST(DecodeHeader, RefusesRefcountOrdersAboveSix) {
  for (std::uint32_t order = 0; order <= 6; ++order) {
    EXPECT_EQ(decode_patched(sample_header(3, 16), set32(96, order)).value().refcount_order, order);
  }
  for (const std::uint32_t order : {7u, 64u, 0xffff'ffffu}) {
    expect_always_refused(set32(96, order), ErrorCode::corrupt, "refcount order");
  }
}

// docs/format.md H-18, section 4.1.
TEST(DecodeHeader, RefusesEachUnknownIncompatibleBit) {
  for (unsigned bit = 5; bit < 64; ++bit) {
    expect_always_refused(set64(72, std::uint64_t{1} << bit), ErrorCode::unsupported, "bit " + std::to_string(bit));
  }
}

TEST(DecodeHeader, NamesAnUnknownFeatureEvenIfALaterExtensionIsBroken) {
  Header header = sample_header(3, 16);
  header.feature_names = FeatureNameTable{{FeatureKind::incompatible, 40, "frob\nnicate"}};
  header.unknown_extensions = {{77, {}}};
  const Patch patch = [](std::vector<std::byte>& bytes) {
    patch64(bytes, 72, std::uint64_t{1} << 40);
    patch32(bytes, 112 + 8 + 48 + 4, 0xffff'ffff);
  };
  expect_refused(decode_patched(header, patch), ErrorCode::unsupported,
                 "unknown incompatible feature: bit 40 ('frob\\x0anicate')");
}

TEST(DecodeHeader, KeepsUnknownCompatibleAndAutoclearBits) {
  Header header = sample_header(3, 16);
  header.compatible_features = 0xfedc'ba98'7654'3211;
  header.autoclear_features = 0xf000'0000'0000'0010;
  EXPECT_EQ(decode(first_cluster(header), HeaderUse::write).value(), header);
  EXPECT_EQ(header.autoclear_bits_to_clear(), 0xf000'0000'0000'0010);
}

// docs/format.md H-18, I-5.
TEST(DecodeHeader, RefusesACompressionTypeThatContradictsItsBit) {
  const auto type = [](unsigned value, std::uint64_t bits) {
    return [=](std::vector<std::byte>& bytes) {
      bytes[104] = static_cast<std::byte>(value);
      patch64(bytes, 72, bits);
    };
  };
  expect_always_refused(type(1, 0), ErrorCode::corrupt, "compression type 1");
  expect_always_refused(type(0, incompatible::compression_type), ErrorCode::corrupt, "compression type 0");
  expect_always_refused(type(2, incompatible::compression_type), ErrorCode::unsupported, "compression type 2");
  expect_always_refused(type(255, 0), ErrorCode::unsupported, "compression type 255");
  EXPECT_EQ(decode_patched(sample_header(3, 16), type(1, incompatible::compression_type)).value().compression_type,
            CompressionType::zstd);
}

TEST(DecodeHeader, TheByteAt104IsNoCompressionTypeInAHeaderOf104Bytes) {
  Header header = sample_header(3, 16);
  header.header_length = 104;
  header.unknown_extensions = {{0x01020304, bytes_of("x")}};
  EXPECT_EQ(decode(first_cluster(header)).value(), header);
}

// docs/format.md I-40, section 4.1.
TEST(DecodeHeader, TheCorruptBitForbidsOnlyWriting) {
  Header header = sample_header(3, 16);
  header.incompatible_features = incompatible::corrupt | incompatible::dirty;
  expect_refused(decode(first_cluster(header), HeaderUse::write), ErrorCode::refused, "marked corrupt");
  for (const HeaderUse use : {HeaderUse::read, HeaderUse::inspect, HeaderUse::repair}) {
    EXPECT_TRUE(decode(first_cluster(header), use).value().is_corrupt());
    EXPECT_TRUE(decode(first_cluster(header), use).value().is_dirty());
  }
}

// docs/format.md H-32, I-6.
TEST(DecodeHeader, RefusesExtendedL2EntriesWithSmallClusters) {
  for (unsigned bits = min_cluster_bits; bits < 14; ++bits) {
    expect_always_refused(set64(72, incompatible::extended_l2), ErrorCode::corrupt, "extended L2", bits);
  }
  Header header = sample_header(3, 14);
  header.incompatible_features = incompatible::extended_l2;
  header.l1_entries = 2;  // each now maps half as much
  EXPECT_EQ(decode(first_cluster(header)).value(), header);
}

// docs/format.md H-19.
TEST(DecodeHeader, RefusesUnknownEncryptionAndAWrongUseOfItsPointer) {
  for (const std::uint32_t method : {3u, 0xffff'ffffu}) {
    expect_always_refused(set32(32, method), ErrorCode::unsupported, "encryption method");
  }
  expect_always_refused(set32(32, 2), ErrorCode::corrupt, "lacks");
  EXPECT_EQ(decode_patched(sample_header(2, 16), set32(32, 1)).value().crypt_method, CryptMethod::aes);

  Header header = sample_header(2, 16);  // allowed in version 2 as well
  header.crypt_method = CryptMethod::luks;
  header.encryption = EncryptionPointer{HostOffset(0x40000), 0x1f9000};
  EXPECT_EQ(decode(first_cluster(header)).value(), header);
  for (const std::uint32_t method : {0u, 1u}) {
    expect_refused(decode_patched(header, set32(32, method)), ErrorCode::corrupt, "must not have");
  }
}

// docs/format.md H-54.
TEST(DecodeHeader, JudgesThePlaceOfTheEncryptionHeader) {
  Header header = sample_header(3, 16);
  header.crypt_method = CryptMethod::luks;
  header.encryption = EncryptionPointer{HostOffset(0x40000), 592};
  EXPECT_TRUE(decode(first_cluster(header), HeaderUse::read, 0x40001).has_value());
  expect_refused(decode(first_cluster(header), HeaderUse::read, 0x40000), ErrorCode::corrupt, "end of the file");
  const std::size_t at = 112 + 8;
  expect_refused(decode_patched(header, set64(at, 0x40200)), ErrorCode::corrupt, "multiple of the cluster size");
  expect_refused(decode_patched(header, set64(at, 0)), ErrorCode::corrupt, "offset 0");
  expect_refused(decode_patched(header, set64(at + 8, 591)), ErrorCode::corrupt, "591 bytes");
  expect_refused(decode_patched(header, set64(at + 8, ~std::uint64_t{0})), ErrorCode::corrupt, "encryption header");
  expect_refused(decode_patched(header, set32(at - 4, 8)), ErrorCode::corrupt, "instead of 16");
}

// docs/format.md H-39.
TEST(DecodeHeader, BoundsTheNumberOfSnapshots) {
  Header header = sample_header(3, 16);
  header.snapshot_table = HostOffset(0x40000);
  EXPECT_EQ(decode_patched(header, set32(60, 65536)).value().snapshot_count, 65536u);
  for (const std::uint32_t count : {65537u, 0xffff'ffffu}) {
    for (const HeaderUse use : uses_but_repair) {
      expect_refused(decode_patched(header, set32(60, count), use), ErrorCode::corrupt, "snapshots, above the limit");
    }
    EXPECT_TRUE(decode_patched(header, set32(60, count), HeaderUse::repair).has_value());
  }
}

// docs/format.md I-7, I-30: nothing that a reader needs to mind.
TEST(DecodeHeader, RefusesToWriteADataFileImageThatBreaksItsPromises) {
  Header header = sample_header(3, 16);
  header.incompatible_features = incompatible::external_data_file;
  header.autoclear_features = autoclear::raw_external_data;
  header.backing_name = "b.raw";
  expect_refused(decode(first_cluster(header), HeaderUse::write), ErrorCode::corrupt, "raw external data file");
  EXPECT_TRUE(decode(first_cluster(header), HeaderUse::read).has_value());
  header.autoclear_features = 0;
  EXPECT_TRUE(decode(first_cluster(header), HeaderUse::write).has_value());
  header.snapshot_count = 1;
  header.snapshot_table = HostOffset(0x40000);
  expect_refused(decode(first_cluster(header), HeaderUse::write), ErrorCode::corrupt, "snapshots");
  EXPECT_TRUE(decode(first_cluster(header), HeaderUse::read).has_value());
}

// docs/format.md H-48, H-58, O-19.
TEST(Header, TellsWhichAutoclearBitsAWriterMustClear) {
  Header header = sample_header(3, 16);
  header.autoclear_features = autoclear::bitmaps | autoclear::raw_external_data | 0x10;
  const Header decoded = decode(first_cluster(header), HeaderUse::write).value();
  EXPECT_EQ(decoded.autoclear_bits_to_clear(), header.autoclear_features);
  EXPECT_FALSE(decoded.has_valid_bitmaps());
  header.incompatible_features = incompatible::external_data_file;
  EXPECT_EQ(header.autoclear_bits_to_clear(), autoclear::bitmaps | 0x10);
  header.bitmaps = BitmapsExtension{1, 0, 32, HostOffset(0x40000)};
  EXPECT_EQ(header.autoclear_bits_to_clear(), 0x10u);
  EXPECT_TRUE(header.has_valid_bitmaps());
}

// docs/format.md H-45, section 15.
TEST(DecodeHeader, JudgesTheBitmapsExtensionOnlyWhileItIsValid) {
  Header header = sample_header(3, 16);
  header.bitmaps = BitmapsExtension{0, 7, 0, HostOffset(3)};
  EXPECT_EQ(decode(first_cluster(header)).value(), header);
  header.autoclear_features = autoclear::bitmaps;
  for (const HeaderUse use : uses_but_repair) {
    expect_refused(decode(first_cluster(header), use), ErrorCode::corrupt, "bitmaps");
  }
  EXPECT_EQ(decode(first_cluster(header), HeaderUse::repair).value(), header);
  header.bitmaps = BitmapsExtension{1, 0, 32, HostOffset(0x40000)};
  EXPECT_EQ(decode(first_cluster(header)).value(), header);
  expect_refused(decode(first_cluster(header), HeaderUse::read, 0x40000), ErrorCode::corrupt, "bitmap directory");
  expect_refused(decode_patched(header, set32(112 + 4, 23)), ErrorCode::corrupt, "instead of 24");
}

}  // namespace
}  // namespace byre::format
