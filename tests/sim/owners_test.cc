// While random programs run, no host cluster has two owners, nor is one taken while something durable refers to it or
// I/O to it is in flight. A failure prints the seed and how to repeat it.

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>

#include "support/owner_watch.h"
#include "support/simulation.h"

namespace byre::test {
namespace {

void watch_programs(std::uint64_t first, std::uint64_t programs) {
  const char* forced = std::getenv("BYRE_SIM_SEED");
  if (forced) first = std::strtoull(forced, nullptr, 10);
  std::uint64_t looks = 0;
  std::uint64_t requests = 0;
  for (std::uint64_t seed = first; seed < first + (forced ? 1 : programs); ++seed) {
    SimulationOptions options;
    options.seed = seed;
    options.operations = 30;
    options.workers = 4;
    options.crash_one_in = 1'000;
    options.crowded = seed % 10 == 0;
    std::unique_ptr<OwnerWatch> watch;
    options.on_start = [&watch](SimulatedDisk& storage, Disk& disk) {
      watch = std::make_unique<OwnerWatch>(storage, disk);
    };
    const SimulationResult result = simulate(options);
    ASSERT_EQ(result.failure, "") << "seed " << seed;
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    ASSERT_EQ(watch->failure(), "") << "repeat with: BYRE_SIM_SEED=" << seed
                                    << " build/tests/sim_tests --gtest_filter=" << info->test_suite_name() << "."
                                    << info->name();
    looks += watch->looks();
    requests += watch->requests();
  }
  std::printf("%llu looks at all clusters, %llu writes and punches\n", static_cast<unsigned long long>(looks),
              static_cast<unsigned long long>(requests));
  EXPECT_TRUE(forced || (looks > 50 * programs && requests > 10 * programs));
}

TEST(Owners, NoHostClusterEverHasTwo) { watch_programs(8'500'000, 300); }
// Where all other pages of the cache had to stay, the L2 page and the refcount page of one write drove each other out.
TEST(Owners, AWriteThatNeedsTwoPagesGetsBoth) {
  watch_programs(85'012'850, 1);
  watch_programs(85'015'400, 1);
}
TEST(NightlyOwners, NoHostClusterEverHasTwo) { watch_programs(85'000'000, 20'000); }

}  // namespace
}  // namespace byre::test
