// Two guest clusters that name one host cluster with a count of 1 and COPIED (docs/format.md H-24): no single entry
// tells, so each may be written. What must hold: when one of them gives the cluster back and it becomes metadata, the
// other can neither overwrite nor free it.

#include <gtest/gtest.h>

#include <functional>

#include "byre/data/disk.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"
#include "support/image_builder.h"

namespace byre {
namespace {

using test::ImageBuilder;

class AliasedCluster : public testing::Test {
 protected:
  AliasedCluster() : loop_(std::move(*make_event_loop(IoMode::threads))) {
    ImageBuilder image = test::sample_image();
    host_ = image.load64(image.l2_table()) & format::entry_offset_mask;
    image.set_l2(1, image.load64(image.l2_table()));
    cluster_size_ = image.cluster_size();
    second_table_guest_ = image.geometry().guest_bytes_per_l2();
    l1_entry_ = image.l1_table() + 8;
    auto storage = std::make_unique<MemoryStorage>(ConstBytes(image.bytes()));
    storage_ = storage.get();
    OpenOptions options;
    options.format = "qcow2";
    options.writable = true;
    auto disk = run(open_disk(std::move(storage), options));
    EXPECT_TRUE(disk.has_value()) << disk.error().message();
    disk_ = std::move(*disk);
  }

  template <class T>
  T run(Task<T> task) {
    return loop_->run(std::move(task));
  }

  // Guest cluster 0 gives its host cluster back, which then becomes the second L2 table.
  void make_it_a_table() {
    ASSERT_TRUE(run(disk_->discard(0, cluster_size_)).has_value());
    ASSERT_TRUE(run(disk_->flush()).has_value());
    ASSERT_TRUE(run(disk_->write(second_table_guest_, data_)).has_value());
    ASSERT_TRUE(run(disk_->flush()).has_value());
    ASSERT_EQ(load64(l1_entry_) & format::entry_offset_mask, host_);
  }

  // Through guest cluster 1, which still names it.
  void expect_refused(const Result<void>& done) {
    ASSERT_FALSE(done.has_value());
    EXPECT_EQ(done.error().code(), ErrorCode::corrupt) << done.error().message();
    EXPECT_EQ(load64(72), format::incompatible::corrupt);
    EXPECT_EQ(table(), table_);
    [[maybe_unused]] const auto closed = run(disk_->close());
    EXPECT_EQ(table(), table_);
  }

  std::uint64_t load64(std::uint64_t at) { return load_be64(storage_->content().data() + at); }
  std::vector<std::byte> table() {
    const std::vector<std::byte> all = storage_->content();
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(host_);
    return {begin, begin + static_cast<std::ptrdiff_t>(cluster_size_)};
  }

  std::unique_ptr<EventLoop> loop_;
  MemoryStorage* storage_ = nullptr;
  std::unique_ptr<Disk> disk_;
  std::uint64_t host_ = 0;
  std::uint64_t cluster_size_ = 0;
  std::uint64_t second_table_guest_ = 0;
  std::uint64_t l1_entry_ = 0;
  std::vector<std::byte> table_;
  const std::vector<std::byte> data_ = std::vector<std::byte>(4096, std::byte{0xee});
};

TEST_F(AliasedCluster, IsWrittenByBothWhileItIsData) {
  ASSERT_TRUE(run(disk_->write(0, ConstBytes(data_).first(512))).has_value());
  ASSERT_TRUE(run(disk_->write(cluster_size_, ConstBytes(data_).first(512))).has_value());
  EXPECT_TRUE(run(disk_->close()).has_value());
  EXPECT_EQ(load64(72), 0u);
}

TEST_F(AliasedCluster, ThatBecameATableIsNotOverwrittenInPlace) {
  ASSERT_NO_FATAL_FAILURE(make_it_a_table());
  table_ = table();
  expect_refused(run(disk_->write(cluster_size_, ConstBytes(data_).first(512))));
}

TEST_F(AliasedCluster, ThatBecameATableIsNotFreedByADiscard) {
  ASSERT_NO_FATAL_FAILURE(make_it_a_table());
  table_ = table();
  expect_refused(run(disk_->discard(cluster_size_, cluster_size_)));
}

TEST_F(AliasedCluster, ThatBecameATableIsNotKeptAsZeros) {
  ASSERT_NO_FATAL_FAILURE(make_it_a_table());
  table_ = table();
  expect_refused(run(disk_->write_zeroes(cluster_size_, cluster_size_, ZeroMode::keep)));
}

TEST_F(AliasedCluster, GivenBackByBothIsNoticed) {
  ASSERT_TRUE(run(disk_->discard(0, cluster_size_)).has_value());
  const auto second = run(disk_->discard(cluster_size_, cluster_size_));
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code(), ErrorCode::corrupt) << second.error().message();
}

}  // namespace
}  // namespace byre
