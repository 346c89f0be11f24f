// Copy-on-read: what is read from below is kept, and nothing else (OpenOptions::copy_on_read).

#include <gtest/gtest.h>

#include "byre/data/disk.h"
#include "byre/storage/memory.h"
#include "byre/storage/simulated.h"
#include "support/fresh_image.h"
#include "support/test_image.h"

namespace byre {
namespace {

constexpr std::uint64_t cluster = 4096;

test::TestImage image_over_a_base() {
  test::TestImage image;
  image.image.geometry.cluster_bits = 12;
  image.image.size_bytes = 16 * cluster;
  image.image.backing_name = "base";
  image.backing.assign(10 * cluster + 100, std::byte{7});
  std::fill_n(image.backing.begin() + 4 * cluster, cluster, std::byte{0});
  image.copy_on_read = true;
  return image;
}

class CopyOnRead : public testing::Test {
 protected:
  void SetUp() override {
    const test::TestImage image = image_over_a_base();
    auto storage = std::make_unique<MemoryStorage>(ConstBytes(test::fresh_image(image.image)));
    auto disk = loop_.run(test::open_image(std::move(storage), image, true));
    ASSERT_TRUE(disk.has_value());
    disk_ = std::move(*disk);
  }
  void TearDown() override {
    if (!disk_) return;
    EXPECT_TRUE(loop_.run(disk_->close()).has_value());
  }
  void read(std::uint64_t offset, std::uint64_t length) {
    std::vector<std::byte> content(length);
    const Bytes target(content);
    ASSERT_TRUE(loop_.run(disk_->read(offset, target)).has_value());
    for (std::uint64_t i = 0; i < length; ++i) {
      const std::uint64_t at = offset + i;
      const bool data = at < 10 * cluster + 100 && at / cluster != 4;
      ASSERT_EQ(content[i], data ? std::byte{7} : std::byte{0}) << at;
    }
  }
  std::string present() {
    std::string map;
    for (std::uint64_t i = 0; i < 16; ++i) {
      map += loop_.run(disk_->layer_status(i * cluster, cluster))->present ? 'x' : '.';
    }
    return map;
  }

  EventLoop loop_{std::make_unique<SimulatedScheduler>(0)};
  std::unique_ptr<Disk> disk_;
};

TEST_F(CopyOnRead, KeepsWholeClustersThatAreNotZero) {
  read(cluster + 10, 20);
  EXPECT_EQ(present(), ".x..............");
  read(3 * cluster - 1, 3 * cluster);
  EXPECT_EQ(present(), ".xxx.x..........") << "the cluster of zeros stays below";
  read(9 * cluster, 7 * cluster);
  EXPECT_EQ(present(), ".xxx.x...xx.....") << "nothing lies behind the end of the base";
  read(0, 16 * cluster);
}

TEST_F(CopyOnRead, LeavesWhatIsWrittenAlone) {
  const std::vector<std::byte> data(10, std::byte{1});
  const ConstBytes bytes(data);
  ASSERT_TRUE(loop_.run(disk_->write(6 * cluster, bytes)).has_value());
  EXPECT_EQ(present(), "......x.........");
  std::byte first[12];
  ASSERT_TRUE(loop_.run(disk_->read(6 * cluster, Bytes(first))).has_value());
  EXPECT_EQ(first[9], std::byte{1});
  EXPECT_EQ(first[10], std::byte{7});
}

TEST(CopyOnReadOptions, NeedsAnImageThatIsWritten) {
  EventLoop loop(std::make_unique<SimulatedScheduler>(0));
  OpenOptions options;
  options.copy_on_read = true;
  auto storage = std::make_unique<MemoryStorage>(ConstBytes(test::fresh_image({})));
  const auto disk = loop.run(open_disk(std::move(storage), options));
  ASSERT_FALSE(disk.has_value());
  EXPECT_EQ(disk.error().code(), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace byre
