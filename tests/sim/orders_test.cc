// All orders: for two requests on a tiny image every order in which their I/O can complete is run, not a sample. A
// failure prints the seed and the order, and how to repeat it.

#include <gtest/gtest.h>

#include <cstdlib>

#include "support/crash_count.h"
#include "support/order_walk.h"
#include "support/simulation.h"

namespace byre::test {
namespace {

struct Walked {
  std::uint64_t orders = 0;
  std::uint64_t crash_states = 0;
  bool whole = false;
};

Walked walk_orders(std::uint64_t seed, unsigned requests, std::uint64_t limit) {
  SimulationOptions options;
  options.seed = seed;
  options.operations = requests;
  options.workers = requests;
  options.crash_one_in = 64;
  options.images_per_crash = 2;
  OrderWalk walk;
  options.choose = [&walk](std::size_t count) { return walk.choose(count); };
  const RepeatedSimulation simulation(options);
  Walked walked;
  for (walked.orders = 1;; ++walked.orders) {
    const SimulationResult result = simulation.run();
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    EXPECT_EQ(result.failure, "") << "seed " << seed << ", order " << walk.text()
                                  << "; repeat with: BYRE_SIM_SEED=" << seed
                                  << " build/tests/sim_tests --gtest_filter=" << info->test_suite_name() << "."
                                  << info->name();
    walked.crash_states += result.crash_states;
    walked.whole = !walk.advance();
    if (walked.whole || walked.orders == limit || testing::Test::HasFailure()) return walked;
  }
}

// Programs whose orders are too many to be run whole are run up to the limit and do not count.
void walk_programs(std::uint64_t first, std::uint64_t programs, unsigned requests, std::uint64_t limit) {
  const char* forced = std::getenv("BYRE_SIM_SEED");
  std::uint64_t seed = forced ? std::strtoull(forced, nullptr, 10) : first;
  std::uint64_t orders = 0;
  std::uint64_t crash_states = 0;
  for (std::uint64_t whole = 0; whole < programs; ++seed) {
    const Walked walked = walk_orders(seed, requests, limit);
    if (testing::Test::HasFailure() || forced) return;
    orders += walked.orders;
    crash_states += walked.crash_states;
    whole += walked.whole ? 1 : 0;
    ASSERT_LT(seed, first + 20 * programs) << "hardly any program has all its orders within the limit";
  }
  std::printf("%llu orders; all orders of %llu programs of %u requests\n", static_cast<unsigned long long>(orders),
              static_cast<unsigned long long>(programs), requests);
  report_crash_states(crash_states);
}

TEST(AllOrders, TwoRequestsEndAsOneAfterTheOther) { walk_programs(7'000'000, 60, 2, 1'000); }
TEST(AllOrders, ThreeRequestsEndAsOneAfterTheOther) { walk_programs(7'500'000, 20, 3, 1'000); }
TEST(NightlyAllOrders, TwoRequestsEndAsOneAfterTheOther) { walk_programs(70'000'000, 600, 2, 20'000); }
TEST(NightlyAllOrders, ThreeRequestsEndAsOneAfterTheOther) { walk_programs(75'000'000, 60, 3, 20'000); }

}  // namespace
}  // namespace byre::test
