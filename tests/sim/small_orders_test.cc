// Every pair and every triple of kinds of requests at once, on every small image, in every order in which their I/O can
// complete. A failure prints the image, the requests and the order.

#include <gtest/gtest.h>

#include "support/crash_count.h"
#include "support/order_walk.h"
#include "support/small_program.h"

namespace byre::test {
namespace {

struct Total {
  std::uint64_t programs = 0;
  std::uint64_t orders = 0;
  std::uint64_t cut_short = 0;  // programs with more orders than were run
  std::uint64_t crash_states = 0;
};

void walk(const SmallVariant& variant, const std::vector<unsigned>& program, std::uint64_t limit, Total& total) {
  OrderWalk orders;
  SmallOptions options;
  options.choose = [&orders](std::size_t count) { return orders.choose(count); };
  ++total.programs;
  for (std::uint64_t i = 0; i < limit; ++i) {
    const SmallResult result = run_small_program(variant, program, options);
    ASSERT_EQ(result.failure, "") << "order " << orders.text();
    ++total.orders;
    total.crash_states += result.examined;
    if (!orders.advance()) return;
  }
  ++total.cut_short;
}

void report(const Total& total) {
  std::printf("%llu orders of %llu programs; %llu programs have more, which were not run\n",
              static_cast<unsigned long long>(total.orders), static_cast<unsigned long long>(total.programs),
              static_cast<unsigned long long>(total.cut_short));
  report_crash_states(total.crash_states);
}

void walk_pairs(const SmallVariant& variant, std::uint64_t limit, Total& total) {
  for (unsigned a = 0; a <= small_read; ++a) {
    for (unsigned b = 0; b <= a; ++b) {
      walk(variant, {a, b}, limit, total);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

void walk_triples(const SmallVariant& variant, const std::vector<unsigned>& all, Total& total) {
  for (const unsigned a : all) {
    for (const unsigned b : all) {
      for (const unsigned c : all) {
        walk(variant, {a, b, c}, 20'000, total);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

TEST(SmallOrders, PairsOfAllRequestsEndAsOneAfterTheOtherInEveryOrder) {
  Total total;
  for (const SmallVariant& variant : small_variants()) {
    walk_pairs(variant, 5'000, total);
    if (HasFatalFailure()) return;
  }
  EXPECT_EQ(total.cut_short, 0u);
  report(total);
}

TEST(SmallOrders, TriplesOfAllKindsEndAsOneAfterTheOtherInEveryOrder) {
  Total total;
  for (const SmallVariant& variant : small_variants()) {
    walk_triples(variant, small_requests_by_kind(), total);
    if (HasFatalFailure()) return;
  }
  EXPECT_EQ(total.cut_short, 0u);
  report(total);
}

// The reference frees the cluster below a write in flight (docs/format.md 27.6).
TEST(SmallOrders, PartsOfAClusterThatReadsAsZerosEndAsOneAfterTheOtherInEveryOrder) {
  Total total;
  for (SmallVariant variant : small_variants()) {
    if (!variant.used || variant.version == 2) continue;
    variant.kept = true;
    walk_triples(variant, small_requests_in_one_cluster(), total);
    if (HasFatalFailure()) return;
  }
  EXPECT_EQ(total.cut_short, 0u);
  report(total);
}

class NightlySmallOrders : public testing::TestWithParam<unsigned> {};

TEST_P(NightlySmallOrders, TriplesOfAllRequestsEndAsOneAfterTheOtherInEveryOrder) {
  std::vector<unsigned> all;
  for (unsigned number = 0; number <= small_read; ++number) all.push_back(number);
  Total total;
  walk_triples(small_variants()[GetParam()], all, total);
  if (!HasFatalFailure()) report(total);
}

INSTANTIATE_TEST_SUITE_P(Image, NightlySmallOrders, testing::Range(0u, static_cast<unsigned>(small_variants().size())));

}  // namespace
}  // namespace byre::test
