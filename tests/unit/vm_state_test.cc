// The VM state area behind the disk (docs/format.md section 14.2): written, read, kept by a snapshot, brought back.

#include <gtest/gtest.h>

#include <random>

#include "byre/ops/snapshot.h"
#include "byre/storage/memory.h"
#include "support/disk_on_memory.h"
#include "support/fresh_image.h"
#include "support/sanitized.h"
#include "support/verify.h"

namespace byre::test {
namespace {

using Content = std::vector<std::byte>;

class VmState : public DiskOnMemory {
 protected:
  void make(const FreshImageOptions& options) { disk_ = open(fresh_image(options)); }
  // Closes the image, holds it to I-1 to I-22, and opens it again.
  void look_at_it() {
    ASSERT_TRUE(run(disk_->close()));
    const Content image = storage_->content();
    const auto verdict = verify(image);
    ASSERT_TRUE(verdict.clean()) << verdict.text();
    disk_ = open(image);
  }

  Result<void> write(std::uint64_t offset, const Content& data) { return run(write_vm_state(*disk_, offset, data)); }
  Content read(std::uint64_t offset, std::size_t length) {
    Content bytes(length, std::byte{0xEE});
    const auto done = run(read_vm_state(*disk_, offset, bytes));
    EXPECT_TRUE(done) << done.error().message();
    return bytes;
  }
  Content read_disk() {
    Content bytes(disk_->size_bytes());
    EXPECT_TRUE(run(disk_->read(0, bytes)));
    return bytes;
  }

  std::unique_ptr<Disk> disk_;
};

TEST_F(VmState, FollowsAModelThroughRandomWritesBesideTheDisk) {
  std::mt19937_64 random(5);
  for (unsigned round = 0; round < examples(60); ++round) {
    FreshImageOptions options;
    options.geometry.version = round % 4 == 0 ? 2 : 3;
    options.geometry.cluster_bits = std::array{9u, 10u, 12u, 16u}[random() % 4];
    options.size_bytes = 512 * (random() % 300);
    make(options);
    Content disk(options.size_bytes);
    Content state(300000);
    Content kept_disk, kept_state;
    for (unsigned step = 0; step < 20; ++step) {
      if (step == 6) {
        ASSERT_TRUE(run(create_snapshot(*disk_, NewSnapshot{})));
        kept_disk = disk;
        kept_state = std::exchange(state, Content(state.size()));
      }
      if (step == 12) {  // from now on the snapshot has a part in everything
        ASSERT_TRUE(run(apply_snapshot(*disk_, "1")));
        disk = kept_disk;
        state = kept_state;
      }
      const bool behind = disk.empty() || random() % 3 != 0;
      Content& model = behind ? state : disk;
      const std::uint64_t offset = random() % model.size();
      const Content data(1 + random() % std::min<std::uint64_t>(model.size() - offset, 40000), std::byte(random() | 1));
      std::ranges::copy(data, model.begin() + static_cast<std::ptrdiff_t>(offset));
      const auto done = behind ? write(offset, data) : run(disk_->write(offset, data));
      ASSERT_TRUE(done) << done.error().message();
      if (step % 5 == 4) look_at_it();
      ASSERT_EQ(read(0, state.size()), state) << round << " " << step;
      ASSERT_EQ(read_disk(), disk) << round << " " << step;
    }
    ASSERT_TRUE(run(apply_snapshot(*disk_, "1")));
    look_at_it();
    EXPECT_EQ(read(0, state.size()), kept_state);
    EXPECT_EQ(read_disk(), kept_disk);
  }
}

// The reference does.
TEST_F(VmState, ShowsNothingOfALongerBackingFile) {
  FreshImageOptions options;
  options.geometry.cluster_bits = 9;
  options.size_bytes = 512;
  options.backing_name = "base";
  OpenOptions raw;
  raw.format = "raw";
  const Content below(1 << 20, std::byte{0x77});
  auto backing = run(open_disk(std::make_unique<MemoryStorage>(ConstBytes(below)), raw));
  ASSERT_TRUE(backing);
  disk_ = open(fresh_image(options), true, std::move(*backing));
  Content state(100000);
  EXPECT_EQ(read(0, state.size()), state);
  std::fill_n(state.begin() + 1000, 5000, std::byte{0x11});
  ASSERT_TRUE(write(1000, Content(5000, std::byte{0x11})));
  EXPECT_EQ(read(0, state.size()), state);
  EXPECT_EQ(read_disk(), Content(512, std::byte{0x77}));
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
    ASSERT_TRUE(run(create_snapshot(*disk_, snapshot)));
    EXPECT_EQ(read(0, empty.size()), empty);
    look_at_it();
    ASSERT_TRUE(write(1000, second));
    snapshot = {};
    snapshot.name = "two";
    ASSERT_TRUE(run(create_snapshot(*disk_, snapshot)));
    look_at_it();
    ASSERT_TRUE(run(apply_snapshot(*disk_, "one")));
    EXPECT_EQ(read(0, first.size()), first);
    look_at_it();
    ASSERT_TRUE(run(apply_snapshot(*disk_, "two")));
    EXPECT_EQ(read(1000, second.size()), second);
    ASSERT_TRUE(run(delete_snapshot(*disk_, "two")));
    ASSERT_TRUE(run(disk_->resize(disk_->size_bytes() + 512, Preallocation::off)));
    look_at_it();
    EXPECT_EQ(run(list_snapshots(*disk_))->at(0).vm_state_bytes, first.size());
  }
}

TEST_F(VmState, TurnsIntoZerosWhereTheDiskGrowsOverIt) {
  FreshImageOptions options;
  options.geometry.cluster_bits = 9;
  options.size_bytes = 512;
  make(options);
  ASSERT_TRUE(write(0, Content(100000, std::byte{0x33})));
  ASSERT_TRUE(run(disk_->resize(1 << 20, Preallocation::off)));
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
  disk_ = open(before, false);
  const auto done = write(0, Content(512));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::refused);
  EXPECT_EQ(read(0, 512), Content(512));
}

}  // namespace
}  // namespace byre::test
