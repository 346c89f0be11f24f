// Partition tables, which are the guest's: good ones, and ones that lead outside or around in circles.

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

#include "byre/ops/partition.h"
#include "byre/storage/memory.h"
#include "byre/task/event_loop.h"
#include "byre/task/pollers.h"

namespace byre {
namespace {

constexpr std::uint64_t disk_bytes = 1 << 20;  // 2,048 sectors of 512 bytes

class Partitions : public testing::Test {
 protected:
  void put(std::uint64_t at, std::uint64_t value, unsigned length_bytes) {
    for (unsigned i = 0; i < length_bytes; ++i) bytes_.at(at + i) = static_cast<std::byte>(value >> (8 * i));
  }
  void put_mbr(std::uint64_t sector, unsigned entry, unsigned type, std::uint32_t first, std::uint32_t count) {
    const std::uint64_t at = sector * 512 + 446 + std::uint64_t{16} * entry;
    put(at + 4, type, 1);
    put(at + 8, first, 4);
    put(at + 12, count, 4);
    put(sector * 512 + 510, 0xaa55, 2);
  }
  void put_gpt(std::uint64_t sector_bytes, std::uint64_t table_sector, std::uint32_t entries,
               std::uint32_t entry_bytes) {
    std::memcpy(bytes_.data() + sector_bytes, "EFI PART", 8);
    put(sector_bytes + 72, table_sector, 8);
    put(sector_bytes + 80, entries, 4);
    put(sector_bytes + 84, entry_bytes, 4);
  }
  void put_gpt_entry(std::uint64_t at, std::uint64_t first, std::uint64_t last) {
    put(at, 0x1234, 8);
    put(at + 32, first, 8);
    put(at + 40, last, 8);
  }
  Result<Partition> find(unsigned number) {
    auto storage = std::make_unique<MemoryStorage>(disk_bytes);
    auto loop = make_event_loop(IoMode::threads);
    const auto all = [](Storage& into, ConstBytes from) -> Task<Result<void>> {
      co_return co_await write_bytes(into, 0, from);
    };
    EXPECT_TRUE((*loop)->run(all(*storage, bytes_)));
    OpenOptions options;
    options.format = "raw";
    auto disk = (*loop)->run(open_disk(std::move(storage), std::move(options)));
    EXPECT_TRUE(disk);
    auto found = (*loop)->run(find_partition(**disk, number));
    EXPECT_TRUE((*loop)->run((*disk)->close()));
    return found;
  }
  ErrorCode error(unsigned number) {
    const auto found = find(number);
    EXPECT_FALSE(found) << "partition " << number << " at " << found->offset_bytes;
    return found ? ErrorCode::io : found.error().code();
  }
  std::vector<std::byte> bytes_{disk_bytes};
};

TEST_F(Partitions, PrimaryAndLogicalOnesOfAnMbr) {
  put_mbr(0, 0, 0x83, 100, 50);
  put_mbr(0, 2, 0x05, 1000, 1000);
  put_mbr(1000, 0, 0x83, 8, 20);    // from its own table
  put_mbr(1000, 1, 0x05, 100, 50);  // from the first one
  put_mbr(1100, 0, 0x83, 4, 30);
  EXPECT_EQ(find(1)->offset_bytes, 100U * 512);
  EXPECT_EQ(find(1)->size_bytes, 50U * 512);
  EXPECT_EQ(find(5)->offset_bytes, 1008U * 512);
  EXPECT_EQ(find(6)->offset_bytes, 1104U * 512);
  EXPECT_EQ(find(6)->size_bytes, 30U * 512);
  for (const unsigned none : {0U, 2U, 3U, 4U, 7U, 4000000000U}) EXPECT_EQ(error(none), ErrorCode::not_found) << none;
}

TEST_F(Partitions, ThoseOfAGptWithBothSizesOfSectors) {
  for (const std::uint64_t sector_bytes : {512U, 4096U}) {
    bytes_.assign(disk_bytes, std::byte{0});
    put_mbr(0, 0, 0xee, 1, 0xffffffff);
    put_gpt(sector_bytes, 2, 128, 128);
    put_gpt_entry(2 * sector_bytes + 128, 100, 109);
    EXPECT_EQ(find(2)->offset_bytes, 100 * sector_bytes);
    EXPECT_EQ(find(2)->size_bytes, 10 * sector_bytes);
    EXPECT_EQ(error(1), ErrorCode::not_found);
    EXPECT_EQ(error(129), ErrorCode::not_found);
  }
}

TEST_F(Partitions, WhatLiesOutsideOfTheDiskIsCorrupt) {
  put_mbr(0, 0, 0x83, 2000, 49);
  put_mbr(0, 1, 0x83, 0xffffffff, 0xffffffff);
  put_mbr(0, 2, 0x05, 0xffffffff, 1);
  for (const unsigned number : {1U, 2U, 5U}) EXPECT_EQ(error(number), ErrorCode::corrupt) << number;
  put_gpt(512, 2, 128, 128);
  put_gpt_entry(1024, 2000, 2048);
  put_gpt_entry(1024 + 128, 0, 0xffffffffffffffff);
  put_gpt_entry(1024 + 256, 100, 99);
  for (const unsigned number : {1U, 2U, 3U}) EXPECT_EQ(error(number), ErrorCode::corrupt) << number;
  for (const std::uint64_t table : {std::uint64_t{2048}, ~std::uint64_t{0}, std::uint64_t{1} << 55}) {
    put_gpt(512, table, 128, 128);
    EXPECT_EQ(error(1), ErrorCode::corrupt) << table;
  }
  put_gpt(512, 2047, 4096, 128);
  EXPECT_EQ(error(5), ErrorCode::corrupt) << "the table does not end in the disk";
}

TEST_F(Partitions, EntriesOfOtherSizesAreBounded) {
  for (const std::uint32_t entry_bytes : {0U, 127U, 4097U, 0xffffffffU}) {
    put_gpt(512, 2, 128, entry_bytes);
    EXPECT_EQ(error(1), ErrorCode::corrupt) << entry_bytes;
  }
  put_gpt(512, 2, 0xffffffff, 128);
  EXPECT_EQ(error(1), ErrorCode::corrupt);
}

TEST_F(Partitions, AChainWithoutAnEndEnds) {
  put_mbr(0, 0, 0x0f, 1000, 1000);
  put_mbr(1000, 0, 0x83, 8, 20);
  put_mbr(1000, 1, 0x0f, 0, 1000);  // to itself
  EXPECT_EQ(find(100)->offset_bytes, 1008U * 512);
  EXPECT_EQ(error(5000), ErrorCode::corrupt);
}

TEST_F(Partitions, ADiskWithoutATableHasNone) {
  EXPECT_EQ(error(1), ErrorCode::not_found);
  put_mbr(0, 0, 0, 0, 0);
  EXPECT_EQ(error(1), ErrorCode::not_found);
}

}  // namespace
}  // namespace byre
