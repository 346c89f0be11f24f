// Where a stretch of an image ends: not with a page of its table, but with what lies elsewhere or behind the file.

#include <gtest/gtest.h>

#include "byre/data/disk.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"
#include "support/fresh_image.h"

namespace byre {
namespace {

constexpr std::uint64_t mebi = 1 << 20;
constexpr std::uint64_t cluster_bytes = 8192;
constexpr std::uint64_t page_covers = 512 * cluster_bytes;  // half a table: 4 MiB

class BlockStatuses : public testing::Test {
 protected:
  BlockStatuses() : loop_(std::move(*make_event_loop(IoMode::threads))) {
    test::FreshImageOptions fresh;
    fresh.geometry.cluster_bits = 13;
    fresh.size_bytes = 32 * mebi;
    const auto image = test::fresh_image(fresh);
    open(ConstBytes(image));
  }

  void open(ConstBytes image) {
    auto storage = std::make_unique<MemoryStorage>(image);
    storage_ = storage.get();
    OpenOptions options;
    options.format = "qcow2";
    options.writable = true;
    disk_ = std::move(*loop_->run(open_disk(std::move(storage), options, nullptr)));
  }

  void write(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
    const std::vector<std::byte> bytes(length_bytes, std::byte{1});
    const auto done = loop_->run(disk_->write(offset_bytes, bytes));
    ASSERT_TRUE(done.has_value()) << done.error().message();
  }

  BlockStatus status(std::uint64_t offset_bytes) {
    const auto found = loop_->run(disk_->status(offset_bytes, disk_->size_bytes() - offset_bytes));
    EXPECT_TRUE(found.has_value()) << found.error().message();
    return found.value_or(BlockStatus());
  }

  std::unique_ptr<EventLoop> loop_;
  MemoryStorage* storage_ = nullptr;
  std::unique_ptr<Disk> disk_;
};

TEST_F(BlockStatuses, AStretchGoesOnBehindThePageOfItsTable) {
  write(0, 6 * mebi);
  EXPECT_EQ(status(0).length_bytes, 6 * mebi);
  EXPECT_EQ(status(page_covers - cluster_bytes).length_bytes, 2 * mebi + cluster_bytes);
  EXPECT_EQ(status(6 * mebi).length_bytes, 2 * mebi);
}

TEST_F(BlockStatuses, AStretchEndsWhereThePageBehindItLiesElsewhere) {
  write(page_covers, 2 * mebi);
  write(0, page_covers);
  write(16 * mebi, 4 * mebi);  // so that the file goes on behind it
  const BlockStatus first = status(0);
  EXPECT_EQ(first.length_bytes, page_covers);
  const BlockStatus second = status(page_covers);
  EXPECT_EQ(second.length_bytes, 2 * mebi);
  EXPECT_NE(*second.host_offset_bytes, *first.host_offset_bytes + page_covers);
}

TEST_F(BlockStatuses, AStretchEndsWhereThePageBehindItIsOfAnotherKind) {
  write(0, 8 * mebi);
  const auto zeroed = loop_->run(disk_->write_zeroes(page_covers, mebi, ZeroMode::keep));
  ASSERT_TRUE(zeroed.has_value());
  EXPECT_EQ(status(0).length_bytes, page_covers);
  EXPECT_EQ(status(page_covers).length_bytes, mebi);
}

TEST_F(BlockStatuses, AStretchEndsWhereTheFileDoesAndWhatFollowsIsAnError) {
  write(0, cluster_bytes);  // the table lies in front
  write(cluster_bytes, 9 * cluster_bytes);
  const BlockStatus whole = status(0);
  ASSERT_EQ(whole.length_bytes, 10 * cluster_bytes);
  ASSERT_TRUE(loop_->run(disk_->close()).has_value());
  auto image = storage_->content();
  ASSERT_LT(*whole.host_offset_bytes + 10 * cluster_bytes, image.size() + 1);
  image.resize(*whole.host_offset_bytes + 6 * cluster_bytes);
  open(ConstBytes(image));
  EXPECT_EQ(status(0).length_bytes, 6 * cluster_bytes);
  EXPECT_FALSE(loop_->run(disk_->status(6 * cluster_bytes, cluster_bytes)).has_value());
  std::vector<std::byte> bytes(10 * cluster_bytes);
  EXPECT_TRUE(loop_->run(disk_->read(0, Bytes(bytes).first(6 * cluster_bytes))).has_value());
  EXPECT_FALSE(loop_->run(disk_->read(0, bytes)).has_value());
}

}  // namespace
}  // namespace byre
