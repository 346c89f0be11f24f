// Checksums of all states of an image at once.

#include <gtest/gtest.h>

#include <random>

#include "byre/ops/checksum.h"
#include "byre/ops/create.h"
#include "byre/ops/snapshot.h"
#include "byre/task/pollers.h"
#include "support/counting_storage.h"
#include "support/fake_disk.h"
#include "support/reference_checksum.h"

namespace byre {
namespace {

using test::CountingStorage;
using test::reference_checksum;

constexpr std::uint64_t KiB = 1 << 10;
constexpr std::uint64_t MiB = 1 << 20;

class ChecksumOfStates : public ::testing::Test {
 protected:
  void create(std::uint64_t size_bytes, std::uint64_t cluster_size_bytes, bool backed = false) {
    file_ = std::make_shared<CountingStorage::State>();
    below_ = backed ? std::make_shared<CountingStorage::State>() : nullptr;
    CreateOptions options;
    options.size_bytes = size_bytes;
    options.cluster_size_bytes = cluster_size_bytes;
    options.open_backing = false;
    if (backed) {
      below_->bytes.resize(size_bytes / 2);
      for (std::size_t at = 0; at < below_->bytes.size(); at += 700) below_->bytes[at] = static_cast<std::byte>(at);
      options.backing_file = "below";
      options.backing_format = "raw";
    }
    CountingStorage storage(file_);
    const auto done = loop_->run(create_qcow2(storage, options));
    ASSERT_TRUE(done) << done.error().message();
  }

  std::unique_ptr<Disk> open(bool writable, std::optional<std::string> snapshot = std::nullopt) {
    std::unique_ptr<Disk> below;
    OpenOptions options;
    if (below_) {
      options.format = "raw";
      below = std::move(*loop_->run(open_disk(std::make_unique<CountingStorage>(below_), options)));
    }
    options.format = "qcow2";
    options.writable = writable;
    if (snapshot) {
      options.snapshot = std::move(snapshot);
      options.snapshot_key = SnapshotKey::id;
    }
    auto disk = loop_->run(open_disk(std::make_unique<CountingStorage>(file_), options, std::move(below)));
    EXPECT_TRUE(disk) << disk.error().message();
    return std::move(*disk);
  }
  void close(Disk& disk) { EXPECT_TRUE(loop_->run(disk.close())); }

  void take(Disk& disk, const std::string& name) {
    NewSnapshot snapshot;
    snapshot.name = name;
    ASSERT_TRUE(loop_->run(create_snapshot(disk, snapshot)));
  }

  // One random change.
  void change(Disk& disk) {
    const std::uint64_t length = 1 + random_() % (random_() % 4 == 0 ? 3 * MiB : 40 * KiB);
    const std::uint64_t offset = random_() % (disk.size_bytes() - length);
    Result<void> done;
    switch (random_() % 5) {
      case 0: done = loop_->run(disk.write_zeroes(offset, length, ZeroMode::unmap)); break;
      case 1: done = loop_->run(disk.discard(offset, length)); break;
      case 2: done = loop_->run(disk.resize((9 + random_() % 9) * MiB + random_() % 9 * 512, {})); break;
      default: {
        const std::vector<std::byte> bytes(length, static_cast<std::byte>(random_() % 3));
        done = loop_->run(disk.write(offset, bytes));
      }
    }
    ASSERT_TRUE(done) << done.error().message();
  }

  std::vector<std::byte> content_of(std::optional<std::string> snapshot) {
    const auto disk = open(false, std::move(snapshot));
    std::vector<std::byte> content(disk->size_bytes());
    EXPECT_TRUE(loop_->run(disk->read(0, content)));
    close(*disk);
    return content;
  }

  std::vector<StateChecksum> checksums(ChecksumOptions options = {}) {
    const auto disk = open(false);
    auto states = loop_->run(checksum_states(*disk, options));
    EXPECT_TRUE(states) << states.error().message();
    close(*disk);
    return *states;
  }
  void expect_right() {
    for (const StateChecksum& state : checksums()) {
      const auto content =
          content_of(state.snapshot ? std::optional<std::string>(state.snapshot->id) : std::optional<std::string>());
      EXPECT_EQ(state.size_bytes, content.size());
      EXPECT_EQ(checksum_text(state.checksum), reference_checksum(content))
          << (state.snapshot ? state.snapshot->name : "the disk");
    }
  }

  std::unique_ptr<EventLoop> loop_ = make_event_loop().value();
  std::shared_ptr<CountingStorage::State> file_;
  std::shared_ptr<CountingStorage::State> below_;
  std::mt19937_64 random_{1};
};

TEST_F(ChecksumOfStates, IsThatOfEachStateByItself) {
  unsigned seed = 0;
  for (const std::uint64_t cluster_size : {512ul, 4 * KiB, 64 * KiB, 128 * KiB, 2 * MiB}) {
    for (const bool backed : {false, true}) {
      random_.seed(++seed);
      create(14 * MiB, cluster_size, backed);
      const auto disk = open(true);
      for (int snapshot = 0; snapshot < 6; ++snapshot) {
        for (std::uint64_t i = random_() % 8; i > 0; --i) change(*disk);
        take(*disk, std::to_string(snapshot));
      }
      change(*disk);
      close(*disk);
      SCOPED_TRACE(seed);
      expect_right();
      EXPECT_EQ(checksums().size(), 7u);
    }
  }
}

TEST_F(ChecksumOfStates, ReadsWhatTheyShareOnce) {
  create(18 * MiB, 64 * KiB);
  const auto disk = open(true);
  const std::vector<std::byte> bytes(8 * MiB, std::byte{7});
  ASSERT_TRUE(loop_->run(disk->write(5 * MiB, bytes)));
  const std::vector<std::byte> other(4 * KiB, std::byte{8});
  for (int i = 0; i < 10; ++i) {
    take(*disk, std::to_string(i));
    ASSERT_TRUE(loop_->run(disk->write(5 * MiB + static_cast<std::uint64_t>(i) * 256 * KiB, other)));
  }
  close(*disk);
  file_->read_bytes = 0;
  const auto states = checksums();
  EXPECT_EQ(states.size(), 11u);
  const std::uint64_t stored = 8 * MiB + 10 * 64 * KiB;
  EXPECT_GE(file_->read_bytes, stored);
  EXPECT_LE(file_->read_bytes, stored + 2 * MiB);  // with 11 L2 tables of 64 KiB
  expect_right();
}

TEST_F(ChecksumOfStates, ComeInTheOrderOfTheTableWithTheDiskLast) {
  create(MiB, 4 * KiB);
  const auto disk = open(true);
  take(*disk, "b");
  const std::vector<std::byte> bytes(100, std::byte{7});
  ASSERT_TRUE(loop_->run(disk->write(0, bytes)));
  take(*disk, "a");
  close(*disk);
  ChecksumOptions options;
  options.algorithm = ChecksumAlgorithm::blake2b;
  const auto states = checksums(options);
  ASSERT_EQ(states.size(), 3u);
  EXPECT_EQ(states[0].snapshot->name, "b");
  EXPECT_EQ(states[1].snapshot->name, "a");
  EXPECT_FALSE(states[2].snapshot);
  EXPECT_EQ(states[1].checksum, states[2].checksum);
  EXPECT_EQ(checksum_text(states[0].checksum), reference_checksum(std::vector<std::byte>(MiB), "blake2b"));
}

TEST_F(ChecksumOfStates, NeedADiskThatIsNotWritten) {
  create(MiB, 4 * KiB);
  const auto disk = open(true);
  const auto refused = loop_->run(checksum_states(*disk, {}));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
  close(*disk);
}

TEST_F(ChecksumOfStates, OfARawDiskAreItsOwn) {
  auto bytes = std::make_shared<CountingStorage::State>();
  bytes->bytes.assign(100'000, std::byte{3});
  OpenOptions options;
  options.format = "raw";
  const auto disk = loop_->run(open_disk(std::make_unique<CountingStorage>(bytes), options));
  ASSERT_TRUE(disk);
  const auto states = loop_->run(checksum_states(**disk, {}));
  ASSERT_TRUE(states);
  ASSERT_EQ(states->size(), 1u);
  EXPECT_EQ(states->front().size_bytes, 100'352u);
  EXPECT_EQ(checksum_text(states->front().checksum), reference_checksum(bytes->bytes));
  close(**disk);
}

TEST_F(ChecksumOfStates, EndWithAnErrorThatNamesTheImage) {
  create(MiB, 4 * KiB);
  const auto disk = open(true);
  const std::vector<std::byte> bytes(64 * KiB, std::byte{7});
  ASSERT_TRUE(loop_->run(disk->write(0, bytes)));
  take(*disk, "a");
  ASSERT_TRUE(loop_->run(disk->write(0, bytes)));
  close(*disk);
  const auto reader = open(false);
  std::atomic<bool> cancel{true};
  ChecksumOptions options;
  options.cancel = &cancel;
  const auto cancelled = loop_->run(checksum_states(*reader, options));
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code(), ErrorCode::cancelled);
  EXPECT_EQ(cancelled.error().message(), "counted: interrupted");
  close(*reader);
}

}  // namespace
}  // namespace byre
