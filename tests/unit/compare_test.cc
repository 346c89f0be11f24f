#include "byre/ops/compare.h"

#include <gtest/gtest.h>

#include "byre/storage/simulated.h"
#include "support/fake_disk.h"

namespace byre {
namespace {

using test::FakeDisk;
using test::FakeRequest;
using Kind = FakeRequest::Kind;

constexpr std::uint64_t MiB = 1 << 20;

class Compare : public ::testing::Test {
 protected:
  using Outcome = std::expected<Comparison, CompareFailure>;
  Outcome compare(Disk& first, Disk& second, bool strict = false) {
    CompareOptions options;
    options.strict = strict;
    return loop_.run(compare_disks(first, second, options));
  }
  static void expect_difference(const Outcome& outcome, Difference difference, std::uint64_t offset_bytes) {
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->difference, difference);
    EXPECT_EQ(outcome->offset_bytes, offset_bytes);
  }

  EventLoop loop_{std::make_unique<SimulatedScheduler>(1)};
};

// docs/format.md C-19.
TEST_F(Compare, ReadsNothingThatBothCallZero) {
  FakeDisk first(64 * MiB);
  FakeDisk second(64 * MiB);
  first.fill(5 * MiB, 4096, 0);
  expect_difference(compare(first, second), Difference::none, 0);
  EXPECT_EQ(first.log, (std::vector<FakeRequest>{{Kind::read, 5 * MiB, 4096}}));
  EXPECT_TRUE(second.log.empty());
}

TEST_F(Compare, NamesTheSectorOfTheFirstDifferenceInAnyOrderOfCompletion) {
  for (bool backwards : {false, true}) {
    FakeDisk first(16 * MiB);
    first.fill(0, 16 * MiB, 'a');
    FakeDisk second(16 * MiB);
    second.fill(0, 16 * MiB, 'a');
    for (std::uint64_t at : {MiB + 1000, MiB + 5000, 2 * MiB, 9 * MiB}) second.fill(at, 1, 'b');
    if (backwards) {
      first.turns = [](const FakeRequest& request) {
        return 5000 - static_cast<unsigned>(request.offset_bytes / 8192);
      };
    }
    expect_difference(compare(first, second), Difference::content, MiB + 512);
  }
}

TEST_F(Compare, FindsDataOppositeOfAHole) {
  FakeDisk first(4 * MiB);
  FakeDisk second(4 * MiB);
  second.fill(3 * MiB + 700, 1, 'x');
  expect_difference(compare(first, second), Difference::content, 3 * MiB + 512);
  expect_difference(compare(second, first), Difference::content, 3 * MiB + 512);
}

TEST_F(Compare, TakesALongerTailOfZerosForEqual) {
  FakeDisk first(MiB);
  FakeDisk second(3 * MiB);
  const Outcome equal = compare(first, second);
  expect_difference(equal, Difference::none, 0);
  EXPECT_TRUE(equal->only_sizes_differ_so_far);
  second.fill(2 * MiB, 1, 'x');
  const Outcome tail = compare(second, first);
  expect_difference(tail, Difference::content, 2 * MiB);
  EXPECT_TRUE(tail->only_sizes_differ_so_far);
  second.fill(5, 1, 'x');
  EXPECT_FALSE(compare(first, second)->only_sizes_differ_so_far);
}

TEST_F(Compare, IsStrictAboutSizeAndStatus) {
  FakeDisk small(MiB);
  FakeDisk large(2 * MiB);
  expect_difference(compare(small, large, true), Difference::size, 0);
  EXPECT_TRUE(small.log.empty());
  FakeDisk stored(MiB);
  stored.fill(8192, 4096, 0);
  expect_difference(compare(small, stored, true), Difference::status, 8192);
  expect_difference(compare(small, small, true), Difference::none, 0);
}

TEST_F(Compare, CountsSizesInSectors) {
  FakeDisk odd(1000);
  FakeDisk even(1024);
  expect_difference(compare(odd, even, true), Difference::none, 0);
  even.fill(1010, 1, 'x');
  expect_difference(compare(odd, even), Difference::content, 512);
}

// C-20: whichever comes first on the disk decides.
TEST_F(Compare, PrefersWhatComesFirstBetweenFailureAndDifference) {
  FakeDisk first(8 * MiB);
  first.fill(0, 8 * MiB, 'a');
  FakeDisk second(8 * MiB);
  second.fill(0, 8 * MiB, 'a');
  second.fill(2 * MiB, 1, 'b');
  for (std::uint64_t bad : {MiB, 3 * MiB}) {
    first.fails = [bad](const FakeRequest& request) {
      return bad >= request.offset_bytes && bad < request.offset_bytes + request.length_bytes;
    };
    const Outcome outcome = compare(first, second);
    if (bad == MiB) {
      ASSERT_FALSE(outcome);
      EXPECT_EQ(outcome.error().step, CompareFailure::Step::read);
    } else {
      expect_difference(outcome, Difference::content, 2 * MiB);
    }
  }
  first.fails = nullptr;
  first.status_fails_at = MiB;
  const Outcome outcome = compare(first, second);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().step, CompareFailure::Step::status);
}

TEST_F(Compare, KeepsSeveralReadsInFlight) {
  FakeDisk first(8 * MiB);
  first.fill(0, 8 * MiB, 'a');
  first.turns = [](const FakeRequest&) { return 50u; };
  expect_difference(compare(first, first), Difference::none, 0);
  EXPECT_EQ(first.most_in_flight, 8u);
}

TEST_F(Compare, EndsWhenItIsCancelled) {
  FakeDisk first(MiB);
  std::atomic<bool> cancel{true};
  CompareOptions options;
  options.cancel = &cancel;
  const Outcome outcome = loop_.run(compare_disks(first, first, options));
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().error.code(), ErrorCode::cancelled);
}

}  // namespace
}  // namespace byre
