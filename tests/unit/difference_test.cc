#include "byre/ops/difference.h"

#include <gtest/gtest.h>

#include "byre/ops/create.h"
#include "byre/ops/snapshot.h"
#include "byre/task/event_loop.h"
#include "byre/task/pollers.h"
#include "support/temporary_directory.h"

namespace byre {
namespace {

using Ranges = std::vector<DifferentRange>;
constexpr std::uint64_t KiB = 1 << 10;
constexpr std::uint64_t MiB = 1 << 20;

class SnapshotDifference : public ::testing::Test {
 protected:
  SnapshotDifference() { create("image", {}); }

  std::string path(const std::string& name) const { return directory_.file(name); }
  void create(const std::string& name, std::optional<std::string> backing, std::uint64_t size_bytes = 8 * MiB) {
    CreateOptions options;
    options.format = "qcow2";
    options.size_bytes = size_bytes;
    options.cluster_size_bytes = 4 * KiB;  // an L2 table maps 2 MiB
    options.backing_file = std::move(backing);
    if (options.backing_file) options.backing_format = "qcow2";
    options.open_backing = false;
    const auto done = loop_.run(create_image(path(name), options, CacheMode::writeback));
    ASSERT_TRUE(done) << done.error().message();
  }

  // Opens the image for writing, does something and closes it.
  template <class Function>
  void change(Function function, const std::string& name = "image") {
    OpenOptions options;
    options.writable = true;
    auto disk = loop_.run(open_disk(path(name), options));
    ASSERT_TRUE(disk) << disk.error().message();
    function(**disk);
    const auto closed = loop_.run((*disk)->close());
    ASSERT_TRUE(closed) << closed.error().message();
  }
  void write(std::uint64_t offset, std::uint64_t length, int value, const std::string& name = "image") {
    const auto write_it = [&](Disk& disk) {
      const std::vector<std::byte> data(length, static_cast<std::byte>(value));
      ASSERT_TRUE(loop_.run(disk.write(offset, data)));
    };
    change(write_it, name);
  }
  void take(const std::string& name) {
    change([&](Disk& disk) {
      NewSnapshot snapshot;
      snapshot.name = name;
      ASSERT_TRUE(loop_.run(create_snapshot(disk, snapshot)));
    });
  }
  std::unique_ptr<Disk> open(std::optional<std::string> snapshot, const std::string& name = "image") {
    OpenOptions options;
    options.snapshot = std::move(snapshot);
    auto disk = loop_.run(open_disk(path(name), options));
    EXPECT_TRUE(disk) << disk.error().message();
    return std::move(*disk);
  }
  Ranges difference(std::optional<std::string> first, std::optional<std::string> second) {
    const auto a = open(std::move(first));
    const auto b = open(std::move(second));
    Ranges ranges;
    DifferenceOptions options;
    options.found = [&](DifferentRange range) { ranges.push_back(range); };
    const auto totals = loop_.run(find_differences(*a, *b, options));
    EXPECT_TRUE(totals) << totals.error().message();
    if (totals) totals_ = *totals;
    EXPECT_TRUE(loop_.run(a->close()) && loop_.run(b->close()));
    return ranges;
  }

  TemporaryDirectory directory_;
  std::unique_ptr<EventLoop> owned_loop_ = std::move(*make_event_loop());
  EventLoop& loop_ = *owned_loop_;
  DifferenceTotals totals_;
};

TEST_F(SnapshotDifference, IsNothingRightAfterTheSnapshotAndNothingIsRead) {
  write(0, 8 * MiB, 1);
  take("a");
  EXPECT_EQ(difference("a", std::nullopt), Ranges());
  EXPECT_EQ(totals_.compared_bytes, 0u);
}

TEST_F(SnapshotDifference, NamesSectorsAndComparesOnlyClustersThatMoved) {
  write(0, 8 * MiB, 1);
  take("a");
  write(3 * MiB + 1000, 10, 2);
  EXPECT_EQ(difference("a", std::nullopt), (Ranges{{3 * MiB + 512, 512}}));
  EXPECT_EQ(totals_.compared_bytes, 4 * KiB);
  EXPECT_EQ(difference(std::nullopt, "a"), (Ranges{{3 * MiB + 512, 512}}));
}

TEST_F(SnapshotDifference, WhatWasWrittenBackIsNone) {
  write(0, MiB, 1);
  take("a");
  write(64 * KiB, 64 * KiB, 1);
  EXPECT_EQ(difference("a", std::nullopt), Ranges());
  EXPECT_EQ(totals_.compared_bytes, 64 * KiB);
}

TEST_F(SnapshotDifference, JoinsNeighboursAcrossTables) {
  take("a");
  write(2 * MiB - 8 * KiB, 16 * KiB, 3);
  write(6 * MiB, MiB, 3);
  EXPECT_EQ(difference("a", std::nullopt), (Ranges{{2 * MiB - 8 * KiB, 16 * KiB}, {6 * MiB, MiB}}));
  EXPECT_EQ(totals_.ranges, 2u);
  EXPECT_EQ(totals_.different_bytes, MiB + 16 * KiB);
}

TEST_F(SnapshotDifference, ZerosOfAnyKindAreTheSame) {
  take("a");
  change([&](Disk& disk) { ASSERT_TRUE(loop_.run(disk.write_zeroes(0, 4 * MiB, ZeroMode::keep))); });
  EXPECT_EQ(difference("a", std::nullopt), Ranges());
  EXPECT_EQ(totals_.compared_bytes, 0u);
}

TEST_F(SnapshotDifference, CompressedClustersAreSharedTooAndReadWhereTheyDiffer) {
  const std::vector<std::byte> data(4 * KiB, std::byte{7});
  change([&](Disk& disk) { ASSERT_TRUE(loop_.run(disk.write_compressed(0, data))); });
  take("a");
  change([&](Disk& disk) { ASSERT_TRUE(loop_.run(disk.write_compressed(8 * KiB, data))); });
  write(0, 512, 8);
  EXPECT_EQ(difference("a", std::nullopt), (Ranges{{0, 512}, {8 * KiB, 4 * KiB}}));
  EXPECT_EQ(totals_.compared_bytes, 8 * KiB);
}

TEST_F(SnapshotDifference, OfAnotherSizeIsWhatDoesNotReadAsZeros) {
  write(7 * MiB, MiB, 1);
  take("a");
  change([&](Disk& disk) { ASSERT_TRUE(loop_.run(disk.resize(12 * MiB + 512, Preallocation::off))); });
  EXPECT_EQ(difference("a", std::nullopt), Ranges());
  write(12 * MiB, 512, 4);
  EXPECT_EQ(difference("a", std::nullopt), (Ranges{{12 * MiB, 512}}));
  change([&](Disk& disk) { ASSERT_TRUE(loop_.run(disk.resize(7 * MiB + 512, Preallocation::off))); });
  EXPECT_EQ(difference(std::nullopt, "a"), (Ranges{{7 * MiB + 512, MiB - 512}}));
}

TEST_F(SnapshotDifference, ReadsTheBackingFileOppositeOfOwnData) {
  create("base", {});
  write(0, 64 * KiB, 9, "base");
  create("image", path("base"));
  take("a");
  write(4 * KiB, 4 * KiB, 9);
  EXPECT_EQ(difference("a", std::nullopt), Ranges());
  EXPECT_EQ(totals_.compared_bytes, 4 * KiB);
  change([&](Disk& disk) { ASSERT_TRUE(loop_.run(disk.write_zeroes(8 * KiB, 4 * KiB, ZeroMode::unmap))); });
  EXPECT_EQ(difference("a", std::nullopt), (Ranges{{8 * KiB, 4 * KiB}}));
}

TEST_F(SnapshotDifference, WantsTwoReadOnlyStatesOfOneImage) {
  create("other", {});
  const auto a = open(std::nullopt);
  const auto b = open(std::nullopt, "other");
  const auto done = loop_.run(find_differences(*a, *b, {}));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::invalid_argument);
  EXPECT_TRUE(loop_.run(a->close()) && loop_.run(b->close()));
}

TEST_F(SnapshotDifference, EndsWhenItIsCancelled) {
  const auto a = open(std::nullopt);
  const auto b = open(std::nullopt);
  const std::atomic<bool> cancel = true;
  DifferenceOptions options;
  options.cancel = &cancel;
  const auto done = loop_.run(find_differences(*a, *b, options));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::cancelled);
  EXPECT_TRUE(loop_.run(a->close()) && loop_.run(b->close()));
}

}  // namespace
}  // namespace byre
