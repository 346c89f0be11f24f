// Valid structures, bent at random with a fixed seed: decoders may refuse them, but must neither crash nor read or
// write out of bounds (run under the address sanitizer), and what they accept must survive a round trip.
#include <gtest/gtest.h>

#include <random>

#include "format/bitmap_directory.h"
#include "format/header.h"
#include "format/snapshot_table.h"
#include "unit/format_samples.h"

namespace byre::format {
namespace {

constexpr unsigned rounds = 20000;

// Overwrites 1 to 4 places with a random, extreme or neighbouring value of 1 to 8 bytes.
void bend(std::vector<std::byte>& bytes, std::size_t limit, std::mt19937_64& random) {
  for (std::uint64_t i = 1 + random() % 4; i > 0; --i) {
    const std::size_t width = std::size_t{1} << random() % 4;
    const std::size_t at = random() % (std::min(limit, bytes.size()) / width) * width;
    const std::uint64_t extremes[] = {0, 1, 0x7fff'ffff'ffff'ffff, ~std::uint64_t{0}, random(), random() % 1024};
    const std::uint64_t value = extremes[random() % 6];
    for (std::size_t j = 0; j < width; ++j) bytes[at + j] = static_cast<std::byte>(value >> (8 * (width - 1 - j)));
  }
}

// An exact copy on the heap, so that the sanitizer sees a read past its end.
std::vector<std::byte> cut(const std::vector<std::byte>& bytes, std::size_t length) {
  return {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length)};
}

Header rich_header(unsigned version) {
  Header header = sample_header(version, version == 2 ? 9 : 12);
  header.backing_name = "base.qcow2";
  header.backing_format = "qcow2";
  header.crypt_method = CryptMethod::luks;
  header.encryption = EncryptionPointer{HostOffset(0x40000), 0x1f9000};
  header.unknown_extensions = {{17, bytes_of("seventeen")}, {18, {}}};
  header.snapshot_count = 3;
  header.snapshot_table = HostOffset(0x30000);
  if (version == 2) return header;
  header.data_file_name = "data.raw";
  header.feature_names = standard_feature_names();
  header.bitmaps = BitmapsExtension{1, 0, 32, HostOffset(0x50000)};
  header.autoclear_features = autoclear::bitmaps;
  return header;
}

TEST(DecoderRobustness, HeadersMayBeAnything) {
  std::mt19937_64 random(41);
  unsigned accepted = 0;
  for (unsigned round = 0; round < rounds; ++round) {
    std::vector<std::byte> bytes = first_cluster(rich_header(2 + round % 2));
    bend(bytes, round % 3 == 0 ? 128 : 700, random);
    const bool whole = random() % 4 != 0;
    if (!whole) bytes = cut(bytes, random() % (bytes.size() + 1));
    const std::uint64_t file_size_bytes = whole ? huge_file_bytes : bytes.size();
    const auto header = decode_header(bytes, file_size_bytes, static_cast<HeaderUse>(random() % 4));
    if (!header) continue;
    ++accepted;
    const auto again = encode_header(*header);
    ASSERT_TRUE(again.has_value() || again.error().code() == ErrorCode::no_space) << again.error().message();
  }
  EXPECT_GT(accepted, rounds / 20);
  EXPECT_LT(accepted, rounds);
}

TEST(DecoderRobustness, SnapshotTablesMayBeAnything) {
  std::mt19937_64 random(43);
  Snapshot snapshot;
  snapshot.id = "1";
  snapshot.name = "before the upgrade";
  snapshot.unknown_extra_data.resize(11);
  const std::vector<std::byte> valid = encode_snapshot_table({snapshot, snapshot, snapshot}, 0).value();
  unsigned accepted = 0;
  for (unsigned round = 0; round < rounds; ++round) {
    std::vector<std::byte> bytes = valid;
    bend(bytes, bytes.size(), random);
    bytes = cut(bytes, bytes.size() - (random() % 2 == 0 ? 0 : random() % bytes.size()));
    const std::uint64_t count = random() % 8 == 0 ? random() : random() % 5;
    const auto snapshots = decode_snapshot_table(bytes, count);
    if (!snapshots) continue;
    ++accepted;
    ASSERT_EQ(snapshots->size(), count);
    const auto again = encode_snapshot_table(*snapshots, 0);
    if (again) {
      ASSERT_EQ(decode_snapshot_table(*again, count).value().size(), count);
    }
    for (const Snapshot& one : *snapshots) {
      (void)check_snapshot_l1(one, {}, 0, HostOffset(0x30000), huge_file_bytes);
      (void)check_snapshot_disk_size(one, {});
    }
    (void)check_snapshots_disjoint(*snapshots, {});
  }
  EXPECT_GT(accepted, rounds / 20);
}

TEST(DecoderRobustness, BitmapDirectoriesMayBeAnything) {
  std::mt19937_64 random(47);
  BitmapEntry entry;
  entry.table = HostOffset(0x50000);
  entry.table_entries = 1;
  entry.extra_data.resize(5);
  std::vector<BitmapEntry> entries;
  for (const char* name : {"a", "bitmap", "another bitmap"}) {
    entry.name = name;
    entries.push_back(entry);
  }
  const std::vector<std::byte> valid = encode_bitmap_directory(entries, {}).value();
  unsigned accepted = 0;
  for (unsigned round = 0; round < rounds; ++round) {
    std::vector<std::byte> bytes = valid;
    bend(bytes, bytes.size(), random);
    bytes = cut(bytes, bytes.size() - (random() % 4 != 0 ? 0 : random() % bytes.size()));
    const auto count = static_cast<std::uint32_t>(random() % 4 == 0 ? random() : 3);
    const BitmapsExtension extension = {count, 0, bytes.size(), HostOffset(0x40000)};
    const auto bitmaps = decode_bitmap_directory(bytes, extension, {}, huge_file_bytes);
    if (!bitmaps) continue;
    ++accepted;
    const std::vector<std::byte> again = encode_bitmap_directory(*bitmaps, {}).value();
    ASSERT_EQ(decode_bitmap_directory(again, extension, {}, huge_file_bytes).value(), *bitmaps);
  }
  EXPECT_GT(accepted, rounds / 50);
}

}  // namespace
}  // namespace byre::format
