#include <gtest/gtest.h>

#include <random>

#include "format/snapshot_table.h"
#include "unit/format_samples.h"

namespace byre::format {
namespace {

constexpr Geometry geometry = {3, 16, 4, false, false};
constexpr std::uint64_t mib = 1024 * 1024;

// docs/format.md section 14.1: "snap1" of a 1 MiB image.
constexpr std::string_view snap1_hex =
    "0000000000070000 00000001 0001 0005 5f5e1000 00003039 0000000000000000 00000000 00000018"
    "0000000000000000 0000000000100000 0000000000000000 31 736e617031";

Snapshot snap1() {
  Snapshot snapshot;
  snapshot.l1_table = HostOffset(0x70000);
  snapshot.l1_entries = 1;
  snapshot.id = "1";
  snapshot.name = "snap1";
  snapshot.date_seconds = 0x5f5e1000;
  snapshot.date_nanoseconds = 0x3039;
  snapshot.disk_size_bytes = mib;
  snapshot.instruction_count = 0;
  return snapshot;
}

TEST(SnapshotTable, ReadsAndWritesTheWorkedEntry) {
  const std::vector<std::byte> table = from_hex(snap1_hex);
  EXPECT_EQ(table.size(), 70u);
  EXPECT_EQ(decode_snapshot_table(table, 1).value(), std::vector{snap1()});
  EXPECT_EQ(encode_snapshot_table({snap1()}, 5 * mib).value(), table);
  EXPECT_EQ(snapshot_table_bytes({snap1()}), 70u);
}

TEST(SnapshotTable, EntriesStartAtMultiplesOfEightAndTheLastIsNotPadded) {
  const std::vector<std::byte> table = from_hex(std::string(snap1_hex) + "0000" + std::string(snap1_hex));
  const std::vector<Snapshot> two = {snap1(), snap1()};
  EXPECT_EQ(table.size(), 72u + 70u);
  EXPECT_EQ(encode_snapshot_table(two, mib).value(), table);
  EXPECT_EQ(decode_snapshot_table(table, 2).value(), two);
  EXPECT_EQ(snapshot_table_bytes_needed(table, 2).value(), 142u);
}

TEST(SnapshotTable, NoSnapshotsNeedNoBytes) {
  EXPECT_EQ(decode_snapshot_table({}, 0).value(), std::vector<Snapshot>{});
  EXPECT_EQ(encode_snapshot_table({}, mib).value(), std::vector<std::byte>{});
  EXPECT_EQ(snapshot_table_bytes_needed({}, 0).value(), 0u);
}

// docs/format.md section 14.1: a field exists if the extra data covers its end.
TEST(SnapshotTable, ReadsAsMuchExtraDataAsThereIs) {
  const std::vector<std::byte> extra = from_hex("0000000200000001 0000000000200000 0000000000000007 aabb");
  for (std::uint32_t length = 0; length <= extra.size(); ++length) {
    std::vector<std::byte> table(40);
    patch32(table, 32, 0x1234);
    patch32(table, 36, length);
    table.insert(table.end(), extra.begin(), extra.begin() + length);
    const Snapshot snapshot = decode_snapshot_table(table, 1).value().at(0);
    EXPECT_EQ(snapshot.extra_data_bytes, length);
    EXPECT_EQ(snapshot.vm_state_bytes, length >= 8 ? 0x2'0000'0001 : 0x1234);
    EXPECT_EQ(snapshot.disk_size_bytes, length >= 16 ? std::optional<std::uint64_t>(2 * mib) : std::nullopt);
    EXPECT_EQ(snapshot.instruction_count, length >= 24 ? std::optional<std::uint64_t>(7) : std::nullopt);
    EXPECT_EQ(snapshot.unknown_extra_data.size(), length > 24 ? length - 24 : 0);
  }
}

TEST(SnapshotTable, AnInstructionCountOfAllOnesIsNone) {
  Snapshot snapshot = snap1();
  snapshot.instruction_count = std::nullopt;
  const std::vector<std::byte> table = encode_snapshot_table({snapshot}, mib).value();
  EXPECT_EQ(load_be64(table.data() + 56), ~std::uint64_t{0});
  EXPECT_EQ(decode_snapshot_table(table, 1).value().at(0), snapshot);
}

TEST(SnapshotTable, WritingCompletesOldEntries) {
  Snapshot snapshot = snap1();
  snapshot.disk_size_bytes = std::nullopt;
  snapshot.extra_data_bytes = 0;
  const std::vector<std::byte> table = encode_snapshot_table({snapshot}, 3 * mib).value();
  EXPECT_EQ(decode_snapshot_table(table, 1).value().at(0).disk_size_bytes, 3 * mib);
  EXPECT_EQ(decode_snapshot_table(table, 1).value().at(0).extra_data_bytes, 24u);
}

TEST(SnapshotTable, AVmStateOfMoreThan32BitsLeavesTheOldFieldZero) {
  Snapshot snapshot = snap1();
  snapshot.vm_state_bytes = 0xffff'ffff;
  EXPECT_EQ(load_be32(encode_snapshot_table({snapshot}, mib).value().data() + 32), 0xffff'ffffu);
  snapshot.vm_state_bytes = 0x1'0000'0000;
  const std::vector<std::byte> table = encode_snapshot_table({snapshot}, mib).value();
  EXPECT_EQ(load_be32(table.data() + 32), 0u);
  EXPECT_EQ(decode_snapshot_table(table, 1).value().at(0).vm_state_bytes, 0x1'0000'0000u);
}

// docs/format.md H-40.
TEST(SnapshotTable, RefusesExtraDataAboveTheLimit) {
  std::vector<std::byte> table(40 + 1024);
  patch32(table, 36, 1024);
  EXPECT_EQ(decode_snapshot_table(table, 1).value().at(0).unknown_extra_data.size(), 1000u);
  for (const std::uint32_t length : {1025u, 0xffff'ffffu}) {
    patch32(table, 36, length);
    EXPECT_EQ(decode_snapshot_table(table, 1).error().code(), ErrorCode::corrupt);
    EXPECT_EQ(snapshot_table_bytes_needed(table, 1).error().code(), ErrorCode::corrupt);
  }
}

// docs/format.md H-40.
TEST(SnapshotTable, RefusesAnEntryThatRunsPastTheTableAtEveryLength) {
  const std::vector<std::byte> table = from_hex(std::string(snap1_hex) + "0000" + std::string(snap1_hex));
  for (std::size_t length = 0; length < table.size(); ++length) {
    EXPECT_EQ(decode_snapshot_table(ConstBytes(table).first(length), 2).error().code(), ErrorCode::corrupt) << length;
  }
  std::vector<std::byte> long_names(200);
  store_be16(long_names.data() + 12, 65535);
  store_be16(long_names.data() + 14, 65535);
  EXPECT_EQ(decode_snapshot_table(long_names, 1).error().code(), ErrorCode::corrupt);
  long_names.resize(40 + 2 * 65535);
  EXPECT_EQ(decode_snapshot_table(long_names, 1).value().at(0).name.size(), 65535u);
}

// docs/format.md H-39.
TEST(SnapshotTable, RefusesTooManySnapshots) {
  const std::vector<std::byte> table(65537 * 40);
  EXPECT_EQ(decode_snapshot_table(table, 65536).value().size(), 65536u);
  EXPECT_EQ(decode_snapshot_table(table, 65537).error().code(), ErrorCode::corrupt);
  EXPECT_EQ(decode_snapshot_table(table, 0xffff'ffff).error().code(), ErrorCode::corrupt);
  const std::vector<Snapshot> too_many(65537);
  EXPECT_EQ(encode_snapshot_table(too_many, mib).error().code(), ErrorCode::no_space);
}

// docs/format.md section 21: 64 MiB.
TEST(SnapshotTable, RefusesATableAboveTheLimit) {
  Snapshot large;
  large.id = std::string(65535, 'i');
  large.name = std::string(65535 - 63, 'n');  // 131071 bytes with the fixed part, padded to 128 KiB
  std::vector<Snapshot> snapshots(512, large);
  EXPECT_EQ(snapshot_table_bytes(snapshots), max_snapshot_table_bytes - 1);
  std::vector<std::byte> table = encode_snapshot_table(snapshots, mib).value();
  EXPECT_EQ(decode_snapshot_table(table, 512).value().size(), 512u);
  snapshots.back().name += "nn";
  EXPECT_EQ(encode_snapshot_table(snapshots, mib).error().code(), ErrorCode::no_space);
  store_be16(table.data() + 511 * 131072 + 14, 65535 - 61);
  EXPECT_EQ(snapshot_table_bytes_needed(table, 512).error().code(), ErrorCode::corrupt);
}

TEST(SnapshotTable, RefusesToWriteWhatNoFieldCanHold) {
  Snapshot snapshot = snap1();
  snapshot.name = std::string(65536, 'n');
  EXPECT_EQ(encode_snapshot_table({snapshot}, mib).error().code(), ErrorCode::invalid_argument);
  snapshot = snap1();
  snapshot.id = std::string(65536, 'i');
  EXPECT_EQ(encode_snapshot_table({snapshot}, mib).error().code(), ErrorCode::invalid_argument);
  snapshot = snap1();
  snapshot.unknown_extra_data.resize(1000);
  EXPECT_TRUE(encode_snapshot_table({snapshot}, mib).has_value());
  snapshot.unknown_extra_data.resize(1001);
  EXPECT_EQ(encode_snapshot_table({snapshot}, mib).error().code(), ErrorCode::invalid_argument);
}

std::vector<Snapshot> random_snapshots(std::mt19937_64& random) {
  std::vector<Snapshot> snapshots(1 + random() % 8);
  for (Snapshot& snapshot : snapshots) {
    snapshot.l1_table = HostOffset(random());
    snapshot.l1_entries = static_cast<std::uint32_t>(random());
    snapshot.id = std::string(random() % 20, 'i');
    snapshot.name = std::string(random() % 300, 'n');
    snapshot.date_seconds = static_cast<std::uint32_t>(random());
    snapshot.date_nanoseconds = static_cast<std::uint32_t>(random());
    snapshot.vm_clock_nanoseconds = random();
    snapshot.vm_state_bytes = random() >> (random() % 64);
    snapshot.disk_size_bytes = random();
    if (random() % 2 == 0) snapshot.instruction_count = random() / 2;
    snapshot.unknown_extra_data.assign(random() % 3 * 7, std::byte{0xa5});
    snapshot.extra_data_bytes = static_cast<std::uint32_t>(24 + snapshot.unknown_extra_data.size());
  }
  return snapshots;
}

TEST(SnapshotTable, DecodingAndEncodingAreInverseForRandomTables) {
  std::mt19937_64 random(23);
  for (unsigned round = 0; round < 2000; ++round) {
    const std::vector<Snapshot> snapshots = random_snapshots(random);
    const std::vector<std::byte> table = encode_snapshot_table(snapshots, mib).value();
    ASSERT_EQ(table.size(), snapshot_table_bytes(snapshots));
    const auto decoded = decode_snapshot_table(table, snapshots.size()).value();
    ASSERT_EQ(decoded, snapshots);
    ASSERT_EQ(encode_snapshot_table(decoded, 0).value(), table);
  }
}

// The loop that snapshot_table_bytes_needed() is made for.
TEST(SnapshotTable, ReadingUntilEnoughFindsTheTablesLength) {
  std::mt19937_64 random(29);
  for (unsigned round = 0; round < 500; ++round) {
    const std::vector<Snapshot> snapshots = random_snapshots(random);
    std::vector<std::byte> file = encode_snapshot_table(snapshots, mib).value();
    const std::uint64_t expected = file.size();
    file.resize(file.size() + 4096, std::byte{0xff});
    std::uint64_t have = 0;
    for (;;) {
      const std::uint64_t needed = snapshot_table_bytes_needed(ConstBytes(file).first(have), snapshots.size()).value();
      ASSERT_LE(needed, expected);
      if (needed <= have) break;
      have = needed;
    }
    ASSERT_EQ(have, expected);
  }
}

// docs/format.md H-41, I-27.
TEST(CheckSnapshotL1, AcceptsOnlyATableThatCanBeUsed) {
  const auto check = [](auto change) {
    Snapshot snapshot = snap1();
    change(snapshot);
    return check_snapshot_l1(snapshot, geometry, mib, HostOffset(0x30000), 0x70008).has_value();
  };
  EXPECT_TRUE(check([](Snapshot&) {}));
  EXPECT_FALSE(check([](Snapshot& s) { s.l1_table = HostOffset(0x70200); }));
  EXPECT_FALSE(check([](Snapshot& s) { s.l1_table = HostOffset(0); }));
  EXPECT_FALSE(check([](Snapshot& s) { s.l1_table = HostOffset(0x30000); }));
  EXPECT_FALSE(check([](Snapshot& s) { s.l1_table = HostOffset(0x80000); }));
  EXPECT_FALSE(check([](Snapshot& s) { s.l1_table = HostOffset(~std::uint64_t{0xffff}); }));
  EXPECT_TRUE(check([](Snapshot& s) { s.l1_entries = 65536 / 8; }));
  EXPECT_FALSE(check([](Snapshot& s) { s.l1_entries = 65536 / 8 + 1; }));
  EXPECT_FALSE(check([](Snapshot& s) { s.l1_entries = max_l1_entries + 1; }));
  EXPECT_FALSE(check([](Snapshot& s) { s.l1_entries = 0; }));
  EXPECT_FALSE(check([](Snapshot& s) { s.disk_size_bytes = 513 * mib; }));
  EXPECT_TRUE(check([](Snapshot& s) { s.disk_size_bytes = std::nullopt; }));
  EXPECT_TRUE(check([](Snapshot& s) {
    s.disk_size_bytes = 0;
    s.l1_entries = 0;
    s.l1_table = HostOffset(0);
  }));
}

TEST(CheckSnapshotL1, AcceptsTheLargestTable) {
  Snapshot snapshot = snap1();
  snapshot.l1_entries = max_l1_entries;
  EXPECT_TRUE(check_snapshot_l1(snapshot, geometry, mib, HostOffset(0x30000), huge_file_bytes).has_value());
  snapshot.l1_entries = max_l1_entries + 1;
  EXPECT_FALSE(check_snapshot_l1(snapshot, geometry, mib, HostOffset(0x30000), huge_file_bytes).has_value());
}

// docs/format.md H-42.
TEST(CheckSnapshotDiskSize, AcceptsMultiplesOf512ThatCanBeMapped) {
  const auto check = [](std::optional<std::uint64_t> size) {
    Snapshot snapshot = snap1();
    snapshot.disk_size_bytes = size;
    return check_snapshot_disk_size(snapshot, geometry).has_value();
  };
  const std::uint64_t largest = geometry.guest_bytes_per_l2() * max_l1_entries;
  EXPECT_TRUE(check(std::nullopt));
  EXPECT_TRUE(check(0));
  EXPECT_TRUE(check(mib + 512));
  EXPECT_TRUE(check(largest));
  EXPECT_FALSE(check(largest + 512));
  EXPECT_FALSE(check(mib + 1));
  EXPECT_FALSE(check(std::uint64_t{1} << 63));
  EXPECT_FALSE(check(~std::uint64_t{0}));
}

// docs/format.md H-43.
TEST(CheckSnapshotsDisjoint, RefusesTwoSnapshotsThatShareAnL1Table) {
  const auto at = [](std::uint64_t offset, std::uint32_t entries) {
    Snapshot snapshot = snap1();
    snapshot.l1_table = HostOffset(offset);
    snapshot.l1_entries = entries;
    return snapshot;
  };
  const auto check = [](std::vector<Snapshot> snapshots) {
    return check_snapshots_disjoint(snapshots, geometry).has_value();
  };
  EXPECT_TRUE(check({}));
  EXPECT_TRUE(check({at(0x80000, 1), at(0x70000, 1)}));
  EXPECT_FALSE(check({at(0x70000, 1), at(0x80000, 1), at(0x70000, 1)}));
  EXPECT_TRUE(check({at(0x70000, 8192), at(0x80000, 1)}));
  EXPECT_FALSE(check({at(0x70000, 8193), at(0x80000, 1)}));
  EXPECT_FALSE(check({at(~std::uint64_t{0}, 0xffff'ffff), at(~std::uint64_t{0}, 1)}));
  EXPECT_TRUE(check({at(0, 0), at(0, 0)}));
}

}  // namespace
}  // namespace byre::format
