#include "byre/ops/copy.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "byre/storage/simulated.h"
#include "support/fake_disk.h"

namespace byre {
namespace {

using test::FakeDisk;
using test::FakeRequest;
using Kind = FakeRequest::Kind;

constexpr std::uint64_t KiB = 1024;
constexpr std::uint64_t MiB = 1024 * KiB;
constexpr std::uint64_t cluster = 64 * KiB;

class Copy : public ::testing::Test {
 protected:
  Result<void> copy(std::vector<Disk*> sources, Disk& target, CopyOptions options = {}) {
    return loop_.run(copy_disks(std::move(sources), target, std::move(options)));
  }
  static std::vector<FakeRequest> only(const FakeDisk& disk, Kind kind) {
    std::vector<FakeRequest> result;
    std::ranges::copy_if(disk.log, std::back_inserter(result),
                         [kind](const FakeRequest& request) { return request.kind == kind; });
    return result;
  }

  EventLoop loop_{std::make_unique<SimulatedScheduler>(1)};
};

TEST_F(Copy, ReadsNothingThatTheStatusCallsZero) {
  FakeDisk source(64 * MiB);
  source.fill(10 * MiB, 8 * KiB, 'a');
  FakeDisk target(64 * MiB, cluster);
  ASSERT_TRUE(copy({&source}, target));
  EXPECT_EQ(target.content, source.content);
  EXPECT_EQ(only(source, Kind::read), (std::vector<FakeRequest>{{Kind::read, 10 * MiB, 8 * KiB}}));
  EXPECT_EQ(only(target, Kind::write), (std::vector<FakeRequest>{{Kind::write, 10 * MiB, cluster}}));
}

TEST_F(Copy, ReadsInPiecesThatStayInTheProcessorsCacheButNoClusterTwice) {
  for (const auto& [cluster_bytes, piece_bytes] : {std::pair{cluster, 512 * KiB}, std::pair{2 * MiB, 2 * MiB}}) {
    FakeDisk source(8 * MiB, cluster_bytes);
    source.fill(0, 8 * MiB, 'a');
    FakeDisk target(8 * MiB);
    ASSERT_TRUE(copy({&source}, target));
    EXPECT_EQ(target.content, source.content);
    const auto reads = only(source, Kind::read);
    EXPECT_EQ(reads.size(), 8 * MiB / piece_bytes);
    EXPECT_TRUE(std::ranges::all_of(reads, [size = piece_bytes](const auto& r) { return r.length_bytes == size; }));
  }
}

TEST_F(Copy, LeavesStoredZerosOutOfTheTarget) {
  FakeDisk source(4 * MiB);
  source.fill(0, 4 * MiB, 0);
  source.fill(MiB, 1, 'a');
  FakeDisk target(4 * MiB);
  ASSERT_TRUE(copy({&source}, target));
  EXPECT_EQ(target.content, source.content);
  EXPECT_EQ(only(target, Kind::write), (std::vector<FakeRequest>{{Kind::write, MiB, 4096}}));
}

TEST_F(Copy, StoresEveryZeroWhenToldTo) {
  FakeDisk source(3 * MiB);
  FakeDisk target(3 * MiB, cluster);
  CopyOptions options;
  options.sparse_bytes = 0;
  ASSERT_TRUE(copy({&source}, target, options));
  EXPECT_EQ(std::ranges::count(target.has_data, true), 3 * MiB / FakeDisk::block_bytes);
}

TEST_F(Copy, ZeroesATargetOfUnknownContent) {
  FakeDisk source(8 * MiB);
  source.fill(3 * MiB, cluster, 'a');
  FakeDisk target(8 * MiB, cluster);
  target.fill(0, 8 * MiB, 'x');
  CopyOptions options;
  options.target_content = TargetContent::unknown;
  ASSERT_TRUE(copy({&source}, target, options));
  EXPECT_EQ(target.content, source.content);
  EXPECT_EQ(only(source, Kind::read).size(), 1u);
}

TEST_F(Copy, ZeroesNothingThatReadsAsZerosAlready) {
  FakeDisk source(8 * MiB);
  FakeDisk target(8 * MiB, cluster);
  target.fill(4 * MiB, 2 * cluster, 'x');
  CopyOptions options;
  options.target_content = TargetContent::unknown;
  ASSERT_TRUE(copy({&source}, target, options));
  EXPECT_EQ(target.log, (std::vector<FakeRequest>{{Kind::zero, 4 * MiB, 2 * cluster}}));
}

TEST_F(Copy, LeavesWhatLiesBehindTheSourceAlone) {
  FakeDisk source(cluster + 100);
  source.fill(0, cluster + 100, 'a');
  FakeDisk target(4 * cluster, cluster);
  target.fill(0, 4 * cluster, 'x');
  CopyOptions options;
  options.target_content = TargetContent::unknown;
  ASSERT_TRUE(copy({&source}, target, options));
  EXPECT_EQ(target.content[cluster + 99], std::byte{'a'});
  EXPECT_EQ(target.content[cluster + 511], std::byte{0}) << "a source counts in whole sectors";
  EXPECT_EQ(target.content[cluster + 512], std::byte{'x'});
}

TEST_F(Copy, WritesOnlyClustersThatDifferFromAComparedTarget) {
  FakeDisk source(8 * MiB);
  source.fill(0, 7 * MiB / 2, 'a');
  source.fill(2 * MiB + 5, 1, 'b');
  FakeDisk target(8 * MiB, cluster);
  target.fill(0, 3 * MiB, 'a');
  target.fill(5 * MiB, cluster, 'x');
  CopyOptions options;
  options.target_content = TargetContent::compared;
  ASSERT_TRUE(copy({&source}, target, options));
  EXPECT_EQ(target.content, source.content);
  EXPECT_EQ(only(target, Kind::write),
            (std::vector<FakeRequest>{{Kind::write, 2 * MiB, cluster}, {Kind::write, 3 * MiB, 512 * KiB}}));
  EXPECT_EQ(only(target, Kind::zero), (std::vector<FakeRequest>{{Kind::zero, 5 * MiB, cluster}}));
}

TEST_F(Copy, SkipsUnreadWhatSourceAndTargetShareBelow) {
  FakeDisk source(8 * MiB);
  source.top_has_data = source.has_data;
  source.fill(0, 8 * MiB, 'a');
  source.fill(3 * MiB + 8192, 4096, 'b');
  (*source.top_has_data)[(3 * MiB + 8192) / FakeDisk::block_bytes] = true;
  FakeDisk target(8 * MiB, cluster);
  target.fill(0, 8 * MiB, 'a');
  CopyOptions options;
  options.target_content = TargetContent::same_below;
  ASSERT_TRUE(copy({&source}, target, options));
  EXPECT_EQ(target.content, source.content);
  EXPECT_EQ(source.log.size(), 1u);
  EXPECT_LE(source.log.front().length_bytes, MiB);
  EXPECT_EQ(only(target, Kind::write), (std::vector<FakeRequest>{{Kind::write, 3 * MiB, cluster}}));
}

TEST_F(Copy, StartsWritesInOrderHoweverTheReadsComplete) {
  FakeDisk source(32 * MiB);
  source.fill(0, 32 * MiB, 'a');
  source.turns = [](const FakeRequest& request) { return 100 - static_cast<unsigned>(request.offset_bytes / MiB); };
  for (bool compress : {false, true}) {
    FakeDisk target(32 * MiB, cluster);
    CopyOptions options;
    options.compress = compress;
    ASSERT_TRUE(copy({&source}, target, options));
    EXPECT_TRUE(std::ranges::is_sorted(target.log, {}, &FakeRequest::offset_bytes));
    EXPECT_EQ(only(target, Kind::compressed).size(), compress ? 512u : 0u);
    EXPECT_EQ(target.content, source.content);
  }
}

TEST_F(Copy, WritesOutOfOrderWhereThatIsAllowed) {
  FakeDisk source(8 * MiB);
  source.fill(0, 8 * MiB, 'a');
  source.turns = [](const FakeRequest& request) { return 100 - static_cast<unsigned>(request.offset_bytes / MiB); };
  FakeDisk target(8 * MiB, cluster);
  CopyOptions options;
  options.out_of_order = true;
  ASSERT_TRUE(copy({&source}, target, options));
  EXPECT_FALSE(std::ranges::is_sorted(target.log, {}, &FakeRequest::offset_bytes));
  EXPECT_EQ(target.content, source.content);
}

TEST_F(Copy, KeepsAsManyRequestsInFlightAsAllowed) {
  for (unsigned limit : {1u, 3u}) {
    FakeDisk source(32 * MiB);
    source.fill(0, 32 * MiB, 'a');
    FakeDisk target(32 * MiB, cluster);
    CopyOptions options;
    options.parallel_requests = limit;
    ASSERT_TRUE(copy({&source}, target, options));
    EXPECT_EQ(source.most_in_flight, limit);
  }
}

TEST_F(Copy, ConcatenatesWholeSectors) {
  FakeDisk first(1000);
  first.fill(0, 1000, 'a');
  FakeDisk second(3 * MiB + 512);
  second.fill(0, 3 * MiB + 512, 'b');
  FakeDisk target(4 * MiB, cluster);
  ASSERT_TRUE(copy({&first, &second, &first}, target));
  EXPECT_EQ(copy_size_bytes({&first, &second, &first}), 3 * MiB + 2560);
  EXPECT_EQ(target.content[999], std::byte{'a'});
  EXPECT_EQ(target.content[1023], std::byte{0});
  EXPECT_EQ(target.content[1024], std::byte{'b'});
  EXPECT_EQ(target.content[3 * MiB + 1535], std::byte{'b'});
  EXPECT_EQ(target.content[3 * MiB + 1536], std::byte{'a'});
}

TEST_F(Copy, RefusesATargetThatIsTooSmallBeforeItWrites) {
  FakeDisk source(2 * MiB);
  source.fill(0, 2 * MiB, 'a');
  FakeDisk target(MiB);
  const Result<void> result = copy({&source}, target);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::invalid_argument);
  EXPECT_TRUE(target.log.empty());
}

TEST_F(Copy, ReportsTheFailureOfAnyRequest) {
  for (Kind kind : {Kind::read, Kind::write, Kind::zero, Kind::compressed}) {
    FakeDisk source(16 * MiB);
    source.fill(0, 8 * MiB, 'a');
    FakeDisk target(16 * MiB, cluster);
    target.fill(0, 16 * MiB, 'x');
    const auto fails = [kind](const FakeRequest& request) {
      return request.kind == kind && request.offset_bytes >= 4 * MiB;
    };
    source.fails = fails;
    target.fails = fails;
    CopyOptions options;
    options.compress = kind == Kind::compressed;
    options.target_content = TargetContent::unknown;
    const Result<void> result = copy({&source}, target, options);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code(), ErrorCode::io);
  }
  FakeDisk source(16 * MiB);
  source.status_fails_at = 4 * MiB;
  FakeDisk target(16 * MiB, cluster);
  const Result<void> result = copy({&source}, target);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::corrupt);
}

TEST_F(Copy, EndsWhenItIsCancelled) {
  FakeDisk source(64 * MiB);
  source.fill(0, 64 * MiB, 'a');
  FakeDisk target(64 * MiB, cluster);
  std::atomic<bool> cancel{false};
  CopyOptions options;
  options.cancel = &cancel;
  options.progress = [&](std::uint64_t done_bytes, std::uint64_t) { cancel = done_bytes >= 8 * MiB; };
  const Result<void> result = copy({&source}, target, options);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::cancelled);
  EXPECT_LT(target.log.size(), 32u);
}

TEST_F(Copy, ReportsProgressThatGrowsToTheTotal) {
  FakeDisk source(32 * MiB);
  source.fill(8 * MiB, 9 * MiB, 'a');
  FakeDisk target(32 * MiB, cluster);
  std::vector<std::uint64_t> seen;
  CopyOptions options;
  options.progress = [&](std::uint64_t done_bytes, std::uint64_t total_bytes) {
    EXPECT_EQ(total_bytes, 32 * MiB);
    seen.push_back(done_bytes);
  };
  ASSERT_TRUE(copy({&source}, target, options));
  EXPECT_TRUE(std::ranges::is_sorted(seen));
  EXPECT_EQ(seen.back(), 32 * MiB);
}

}  // namespace
}  // namespace byre
