// The VM state area behind the disk (docs/format.md section 14.2): written, read, kept by a snapshot, brought back.

#include <gtest/gtest.h>

#include <random>

#include "byre/data/disk.h"
#include "byre/ops/snapshot.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"
#include "support/fresh_image.h"
#include "support/sanitized.h"
#include "support/verify.h"

namespace byre::test {
namespace {

using Content = std::vector<std::byte>;

class VmState : public testing::Test {
 protected:
  VmState() : loop_(std::move(*make_event_loop(IoMode::threads))) {}

  void make(const FreshImageOptions& options) { open(fresh_image(options)); }
  void open(const Content& image, bool writable = true) {
    auto storage = std::make_unique<MemoryStorage>(ConstBytes(image));
    storage_ = storage.get();
    OpenOptions options;
    options.writable = writable;
    options.format = "qcow2";
    auto disk = loop_->run(open_disk(std::move(storage), options));
    ASSERT_TRUE(disk) << disk.error().message();
    disk_ = std::move(*disk);
  }
  // Closes the image, holds it to I-1 to I-22, and opens it again.
  void look_at_it() {
    ASSERT_TRUE(loop_->run(disk_->close()));
    const Content image = storage_->content();
    const auto verdict = verify(image);
    ASSERT_TRUE(verdict.clean()) << verdict.text();
    open(image);
  }

  Result<void> write(std::uint64_t offset, const Content& data) {
    return loop_->run(write_vm_state(*disk_, offset, data));
  }
  Content read(std::uint64_t offset, std::size_t length) {
    Content bytes(length, std::byte{0xEE});
    const auto done = loop_->run(read_vm_state(*disk_, offset, bytes));
    EXPECT_TRUE(done) << done.error().message();
    return bytes;
  }
  Content read_disk() {
    Content bytes(disk_->size_bytes());
    EXPECT_TRUE(loop_->run(disk_->read(0, bytes)));
    return bytes;
  }

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Disk> disk_;
  MemoryStorage* storage_ = nullptr;
};

TEST_F(VmState, FollowsAModelThroughRandomWritesBesideTheDisk) {
  std::mt19937_64 random(5);
  for (unsigned round = 0; round < examples(40); ++round) {
    FreshImageOptions options;
    options.geometry.version = round % 4 == 0 ? 2 : 3;
    options.geometry.cluster_bits = std::array{9u, 10u, 12u, 16u}[random() % 4];
    options.size_bytes = 512 * (random() % 300);
    make(options);
    Content disk(options.size_bytes);
    Content state(300000);
    for (unsigned step = 0; step < 12; ++step) {
      const bool behind = disk.empty() || random() % 3 != 0;
      Content& model = behind ? state : disk;
      const std::uint64_t offset = random() % model.size();
      const Content data(1 + random() % std::min<std::uint64_t>(model.size() - offset, 40000), std::byte(random() | 1));
      std::ranges::copy(data, model.begin() + static_cast<std::ptrdiff_t>(offset));
      const auto done = behind ? write(offset, data) : loop_->run(disk_->write(offset, data));
      ASSERT_TRUE(done) << done.error().message();
      if (step % 5 == 4) look_at_it();
      ASSERT_EQ(read(0, state.size()), state) << round << " " << step;
      ASSERT_EQ(read_disk(), disk) << round << " " << step;
    }
    look_at_it();
    EXPECT_EQ(read(0, state.size()), state);
  }
}

TEST_F(VmState, BelongsToTheSnapshotThatIsTakenAndComesBackWithIt) {
  for (const unsigned cluster_bits : {9u, 16u}) {
    FreshImageOptions options;
    options.geometry.cluster_bits = cluster_bits;
    make(options);
    const Content first(150000, std::byte{0x11}), second(70000, std::byte{0x22});
    const Content empty(first.size());
    ASSERT_TRUE(write(0, first));
    NewSnapshot snapshot;
    snapshot.name = "one";
    snapshot.vm_state_bytes = first.size();
    ASSERT_TRUE(loop_->run(create_snapshot(*disk_, snapshot)));
    EXPECT_EQ(read(0, empty.size()), empty);
    look_at_it();
    const std::size_t with_one = storage_->content().size();
    ASSERT_TRUE(write(1000, second));
    snapshot = {};
    snapshot.name = "two";
    ASSERT_TRUE(loop_->run(create_snapshot(*disk_, snapshot)));
    look_at_it();
    ASSERT_TRUE(loop_->run(apply_snapshot(*disk_, "one")));
    EXPECT_EQ(read(0, first.size()), first);
    look_at_it();
    ASSERT_TRUE(loop_->run(apply_snapshot(*disk_, "two")));
    EXPECT_EQ(read(1000, second.size()), second);
    ASSERT_TRUE(loop_->run(delete_snapshot(*disk_, "two")));
    ASSERT_TRUE(loop_->run(disk_->resize(disk_->size_bytes() + 512, Preallocation::off)));
    look_at_it();
    EXPECT_EQ(loop_->run(list_snapshots(*disk_))->at(0).vm_state_bytes, first.size());
    EXPECT_GE(storage_->content().size(), with_one);
  }
}

TEST_F(VmState, TurnsIntoZerosWhereTheDiskGrowsOverIt) {
  FreshImageOptions options;
  options.geometry.cluster_bits = 9;
  options.size_bytes = 512;
  make(options);
  ASSERT_TRUE(write(0, Content(100000, std::byte{0x33})));
  ASSERT_TRUE(loop_->run(disk_->resize(1 << 20, Preallocation::off)));
  EXPECT_EQ(read_disk(), Content(1 << 20));
  look_at_it();
}

TEST_F(VmState, IsRefusedWithNothingChangedWhereItCannotBe) {
  FreshImageOptions options;
  options.geometry.cluster_bits = 9;
  make(options);
  const Content before = storage_->content();
  const auto most = std::uint64_t{4 << 20} * 64 * 512;  // L1 entries, entries of an L2 table, bytes of a cluster
  for (const std::uint64_t offset : {most - (1 << 20), most, ~std::uint64_t{0}}) {
    const auto done = write(offset, Content(512));
    ASSERT_FALSE(done) << offset;
    EXPECT_EQ(done.error().code(), ErrorCode::invalid_argument);
  }
  EXPECT_TRUE(storage_->content() == before);
  open(before, false);
  const auto done = write(0, Content(512));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::refused);
  EXPECT_EQ(read(0, 512), Content(512));
}

}  // namespace
}  // namespace byre::test
