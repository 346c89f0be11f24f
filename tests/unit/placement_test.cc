// Where the allocator puts what does not fit into a hole: behind everything that is counted, and no farther.

#include <gtest/gtest.h>

#include "base/endian.h"
#include "byre/data/disk.h"
#include "byre/ops/create.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"
#include "data/qcow2_disk.h"
#include "format/header.h"
#include "support/disk_on_memory.h"
#include "support/fresh_image.h"
#include "support/verify.h"

namespace byre {
namespace {

constexpr std::uint64_t cluster = 512;
constexpr std::uint64_t counts_per_block = 64;

class PlacementTest : public test::DiskOnMemory {
 protected:
  // A fresh image of version 3 with clusters of 512 bytes.
  std::unique_ptr<Disk> open_fresh(unsigned refcount_order, std::uint64_t size_bytes) {
    test::FreshImageOptions options;
    options.geometry = {3, 9, refcount_order};
    options.size_bytes = size_bytes;
    return open(test::fresh_image(options));
  }

  // Closes the disk after a change of its size; what is left must be clean.
  void resize_and_verify(Disk& disk, std::uint64_t size_bytes) {
    ASSERT_TRUE(loop_->run(disk.resize(size_bytes, Preallocation::off)));
    ASSERT_TRUE(loop_->run(disk.close()));
    const auto verdict = test::verify(storage_->content());
    EXPECT_TRUE(verdict.clean()) << verdict.text();
  }

  // An image whose file has exactly `clusters` clusters, all in use.
  std::vector<std::byte> image_of(std::uint64_t clusters) {
    auto disk = open_fresh(6, 1 << 20);
    const std::vector<std::byte> data(cluster, std::byte{0x5a});
    for (std::uint64_t at = 0; storage_->size_bytes() < clusters * cluster; at += cluster) {
      EXPECT_TRUE(loop_->run(disk->write(at, data)));
      EXPECT_TRUE(loop_->run(disk->flush()));
    }
    EXPECT_TRUE(loop_->run(disk->close()));
    EXPECT_EQ(storage_->size_bytes(), clusters * cluster);
    return storage_->content();
  }
};

// The file ends at cluster 62, and a crash left a count on cluster 63. A table of four clusters needs the next refcount
// block too: that goes to 64, the table to 65.
TEST_F(PlacementTest, ALongTableGoesRightBehindALeakBehindTheEndOfTheFile) {
  std::vector<std::byte> image = image_of(62);
  const std::uint64_t table = load_be64(image.data() + format::header_field::refcount_table);
  const std::uint64_t block = load_be64(image.data() + table);
  store_be64(image.data() + block + 63 * 8, 1);

  auto disk = open(image);
  ASSERT_TRUE(disk);
  ASSERT_TRUE(loop_->run(disk->resize(8 << 20, Preallocation::off)));
  ASSERT_TRUE(loop_->run(disk->close()));
  const std::vector<std::byte> grown = storage_->content();
  EXPECT_EQ(load_be64(grown.data() + 40), 65 * cluster);
  EXPECT_EQ(load_be64(grown.data() + table + 8), counts_per_block * cluster);
  const auto verdict = test::verify(grown);
  EXPECT_TRUE(verdict.errors.empty()) << verdict.text();
  EXPECT_EQ(verdict.leaks, 1u) << verdict.text();  // that of the crash
}

TEST_F(PlacementTest, AfterAShrinkTheFileEndsBehindItsLastClusterInUse) {
  auto disk = open(image_of(62));
  ASSERT_TRUE(disk);
  ASSERT_TRUE(loop_->run(disk->resize(512, Preallocation::off)));
  ASSERT_TRUE(loop_->run(disk->close()));
  const std::vector<std::byte> image = storage_->content();
  const std::uint64_t table = load_be64(image.data() + format::header_field::refcount_table);
  const std::uint64_t block = load_be64(image.data() + table);
  std::uint64_t last = counts_per_block - 1;
  while (load_be64(image.data() + block + last * 8) == 0) --last;
  EXPECT_LT(last, 10u);
  EXPECT_EQ(image.size(), (last + 1) * cluster);
}

// Blocks that count what is in use stand in front of those that no longer do.
TEST_F(PlacementTest, AShrinkTakesTheRefcountBlocksThatCountNothingAlong) {
  auto disk = open(image_of(1000));
  ASSERT_TRUE(disk);
  resize_and_verify(*disk, 100 * cluster);
  EXPECT_GT(storage_->size_bytes(), 100 * cluster);
  EXPECT_LT(storage_->size_bytes(), 200 * cluster);
  disk = open(storage_->content());
  ASSERT_TRUE(disk);
  const std::vector<std::byte> data(900 * cluster, std::byte{0x5a});
  ASSERT_TRUE(loop_->run(disk->resize(1 << 20, Preallocation::off)));
  ASSERT_TRUE(loop_->run(disk->write(100 * cluster, data)));
  resize_and_verify(*disk, 1000 * cluster);
}

// A crash left a count behind the end of the file: the block that has it stays, though it is the last cluster.
TEST_F(PlacementTest, AShrinkKeepsARefcountBlockThatCountsSomethingBehindTheEnd) {
  std::vector<std::byte> image = image_of(200);
  const std::uint64_t table = load_be64(image.data() + format::header_field::refcount_table);
  const std::uint64_t block = load_be64(image.data() + table + 3 * 8);
  ASSERT_EQ(block, 3 * counts_per_block * cluster);
  store_be64(image.data() + block + 60 * 8, 1);
  auto disk = open(image);
  ASSERT_TRUE(disk);
  ASSERT_TRUE(loop_->run(disk->resize(10 * cluster, Preallocation::off)));
  ASSERT_TRUE(loop_->run(disk->close()));
  EXPECT_EQ(storage_->size_bytes(), block + cluster);
  const auto verdict = test::verify(storage_->content());
  EXPECT_TRUE(verdict.errors.empty()) << verdict.text();
  EXPECT_EQ(verdict.leaks, 1u) << verdict.text();
}

// Clusters of 8 KiB: the counts of a block are in two pages of the cache, its own in the first.
TEST_F(PlacementTest, ABlockOfSeveralPagesCountsNothingIfNoneOfThemDoes) {
  test::FreshImageOptions options;
  options.geometry = {3, 13, 6};
  options.size_bytes = 1 << 20;
  auto disk = open(test::fresh_image(options));
  ASSERT_TRUE(disk);
  ASSERT_TRUE(loop_->run(disk->resize(64 << 20, Preallocation::metadata)));
  EXPECT_GT(storage_->size_bytes(), 60u << 20);
  resize_and_verify(*disk, 1 << 20);
  EXPECT_LT(storage_->size_bytes(), 2u << 20);
}

// 64 entries fill one cluster: the one behind it belongs to others.
TEST_F(PlacementTest, AnL1TableThatMovesFreesItsOwnClustersOnly) {
  auto disk = open_fresh(4, 2 << 20);
  ASSERT_TRUE(disk);
  const std::vector<std::byte> data(3 * cluster, std::byte{0x5a});
  ASSERT_TRUE(loop_->run(disk->write(0, data)));
  resize_and_verify(*disk, 8 << 20);
}

TEST_F(PlacementTest, ShrinkingGivesBackWhatIsStoredCompressedBehindTheEnd) {
  auto disk = open_fresh(4, 1 << 20);
  ASSERT_TRUE(disk);
  const std::vector<std::byte> data(cluster, std::byte{0x5a});
  ASSERT_TRUE(loop_->run(disk->write_compressed(512 << 10, data)));
  resize_and_verify(*disk, 64 << 10);
}

// What is packed next must not follow into the cluster behind, which somebody else may have taken meanwhile.
TEST_F(PlacementTest, APayloadThatFillsItsClusterExactlyIsTheLastInIt) {
  auto disk = open_fresh(4, 1 << 20);
  ASSERT_TRUE(disk);
  const std::vector<std::byte> data(cluster, std::byte{0x5a});
  ASSERT_TRUE(loop_->run(disk->write(20 * cluster, data)));  // brings the pages into the cache
  meta::Metadata& metadata = dynamic_cast<Qcow2Disk&>(*disk).metadata();
  std::vector<HostOffset> packed;
  const auto pack = [&](std::uint64_t guest_cluster, std::uint64_t payload_bytes) {
    auto reservation = metadata.reserve_compressed(GuestOffset(guest_cluster * cluster), payload_bytes);
    ASSERT_TRUE(reservation.has_value());
    packed.push_back(reservation->extent().offset);
    std::move(*reservation).commit();
  };
  pack(0, 300);
  pack(1, cluster - 300);
  auto plain = metadata.reserve(GuestOffset(2 * cluster), 1);
  ASSERT_TRUE(plain.has_value());
  const HostOffset taken = plain->runs()[0].host.at;
  std::move(*plain).commit();
  pack(3, 100);
  ASSERT_EQ(packed.size(), 3u);
  EXPECT_EQ(packed[1], packed[0] + 300);
  ASSERT_EQ(taken, packed[0] + cluster);
  EXPECT_EQ(packed[2], taken + cluster);
  ASSERT_TRUE(loop_->run(disk->close()));
}

// More full pages of counts than are searched, so that what is added goes behind the end. A page that has to be read on
// the way has the reservation made again: what it took the first time must not push the end on.
TEST_F(PlacementTest, ADiskThatShrinksAndGrowsAgainDoesNotMakeItsFileLonger) {
  CreateOptions options;
  options.format = "qcow2";
  options.cluster_size_bytes = cluster;
  options.size_bytes = 60 << 20;
  options.preallocation = Preallocation::metadata;
  MemoryStorage created;
  ASSERT_TRUE(loop_->run(create_qcow2(created, options)));
  std::vector<std::byte> image = created.content();
  const std::uint64_t length = image.size();
  const auto resize = [&](std::uint64_t size_bytes, Preallocation preallocation) {
    const auto disk = open(image);
    ASSERT_TRUE(disk);
    ASSERT_TRUE(loop_->run(disk->resize(size_bytes, preallocation)));
    ASSERT_TRUE(loop_->run(disk->close()));
    image = storage_->content();
  };
  for (int round = 0; round < 2; ++round) {
    resize(40 << 20, Preallocation::off);
    resize(60 << 20, Preallocation::metadata);
    EXPECT_LE(image.size(), length + 100 * cluster) << "round " << round;
  }
  const auto verdict = test::verify(image);
  EXPECT_TRUE(verdict.clean()) << verdict.text();
}

}  // namespace
}  // namespace byre
