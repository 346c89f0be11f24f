// The engine under crashes, faults and every order of completion. A failure prints the seed and how to repeat it:
//   BYRE_SIM_SEED=<seed> build/tests/sim_tests --gtest_filter=<the test>

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <optional>

#include "support/crash_count.h"
#include "support/simulation.h"

namespace byre::test {
namespace {

std::optional<std::uint64_t> forced_seed() {
  const char* text = std::getenv("BYRE_SIM_SEED");
  return text ? std::optional(std::strtoull(text, nullptr, 10)) : std::nullopt;
}

std::string repeat_command(std::uint64_t seed) {
  const auto* info = testing::UnitTest::GetInstance()->current_test_info();
  return "repeat with: BYRE_SIM_SEED=" + std::to_string(seed) +
         " build/tests/sim_tests --gtest_filter=" + info->test_suite_name() + "." + info->name();
}

// Runs seeds from `first` on until `crash_states` have been examined.
void run_until(std::uint64_t first, std::uint64_t crash_states, SimulationOptions options) {
  const auto forced = forced_seed();
  std::uint64_t examined = 0;
  std::uint64_t on_large_sectors = 0;
  std::uint64_t programs = 0;
  for (std::uint64_t seed = forced.value_or(first); examined < crash_states; ++seed) {
    options.seed = seed;
    const SimulationResult result = simulate(options);
    ASSERT_EQ(result.failure, "") << "seed " << seed << "; " << repeat_command(seed);
    examined += result.crash_states;
    if (result.sector_bytes == 4096) on_large_sectors += result.crash_states;
    ++programs;
    if (forced) return;
  }
  std::printf("%llu programs; %llu crash states are of disks with 4 KiB sectors\n",
              static_cast<unsigned long long>(programs), static_cast<unsigned long long>(on_large_sectors));
  EXPECT_TRUE(on_large_sectors > 0 && (on_large_sectors < examined || options.sector_bytes == 4096));
  report_crash_states(examined);
}

SimulationOptions short_programs() {
  SimulationOptions options;
  options.operations = 6;
  options.workers = 2;
  return options;
}

SimulationOptions long_programs() {
  SimulationOptions options;
  options.operations = 60;
  options.workers = 4;
  options.crash_one_in = 12;
  return options;
}

SimulationOptions large_clusters() {
  SimulationOptions options;
  options.operations = 8;
  options.large = true;
  options.crash_one_in = 10;
  return options;
}

SimulationOptions crowded_images() {
  SimulationOptions options;
  options.operations = 30;
  options.workers = 3;
  options.crash_one_in = 8;
  options.crowded = true;
  return options;
}

SimulationOptions lazy_images() {
  SimulationOptions options;
  options.operations = 16;
  options.workers = 3;
  options.crash_one_in = 2;
  options.lazy = true;
  return options;
}

// What a server with four clients makes of it, each with 32 requests on their way: overlapping reads, writes, zeroes,
// trims and flushes, 128 at once.
SimulationOptions server_traffic() {
  SimulationOptions options;
  options.operations = 300;
  options.workers = 128;
  options.crash_one_in = 40;
  return options;
}

SimulationOptions lazy_server_traffic() {
  SimulationOptions options = server_traffic();
  options.lazy = true;
  return options;
}

TEST(Simulator, EveryCrashPointOfShortProgramsLeavesASoundImage) { run_until(1'000'000, 40'000, short_programs()); }
TEST(Simulator, RandomCrashPointsOfLongProgramsLeaveASoundImage) { run_until(2'000'000, 40'000, long_programs()); }
TEST(Simulator, LargeClustersAreSoundToo) { run_until(3'000'000, 1'500, large_clusters()); }

TEST(Simulator, LazyRefcountsAreSoundToo) { run_until(9'500'000, 20'000, lazy_images()); }
TEST(NightlySimulator, LazyRefcountsAreSoundToo) { run_until(95'000'000, 500'000, lazy_images()); }

TEST(Simulator, ServerTrafficIsSoundToo) { run_until(6'000'000, 20'000, server_traffic()); }
TEST(Simulator, ServerTrafficWithLazyRefcountsIsSoundToo) { run_until(6'500'000, 20'000, lazy_server_traffic()); }

TEST(Simulator, RefcountTablesThatMustGrowAreSoundToo) { run_until(5'000'000, 1'500, crowded_images()); }

TEST(Simulator, SectorsOf4KiBAreTornBetweenOneAnother) {
  SimulationOptions options = long_programs();
  options.sector_bytes = 4096;
  run_until(5'500'000, 5'000, options);
}

// In shares, so that several can run at once; each has its own seeds.
class NightlySimulator : public testing::TestWithParam<std::uint64_t> {
 protected:
  std::uint64_t first_seed(std::uint64_t first) const { return first + GetParam() * 1'000'000; }
};

TEST_P(NightlySimulator, EveryCrashPointOfShortProgramsLeavesASoundImage) {
  run_until(first_seed(110'000'000), 500'000, short_programs());
}
TEST_P(NightlySimulator, RandomCrashPointsOfLongProgramsLeaveASoundImage) {
  run_until(first_seed(120'000'000), 500'000, long_programs());
}
TEST_P(NightlySimulator, LargeClustersAreSoundToo) { run_until(first_seed(130'000'000), 10'000, large_clusters()); }
TEST_P(NightlySimulator, RefcountTablesThatMustGrowAreSoundToo) {
  run_until(first_seed(150'000'000), 10'000, crowded_images());
}
TEST_P(NightlySimulator, ServerTrafficIsSoundToo) { run_until(first_seed(160'000'000), 100'000, server_traffic()); }
TEST_P(NightlySimulator, ServerTrafficWithLazyRefcountsIsSoundToo) {
  run_until(first_seed(165'000'000), 100'000, lazy_server_traffic());
}

INSTANTIATE_TEST_SUITE_P(Share, NightlySimulator, testing::Values(0u, 1u, 2u, 3u));

constexpr std::uint64_t examined_bytes_per_run = 8 << 20;

// Fails the n-th I/O of a program for n = 1, 2, ...: the caller hears of it, no crash finds damage, and when the fault
// is gone everything works again, down to a clean close.
std::uint64_t fail_every_operation(std::uint64_t seed, FaultPlan plan) {
  SimulationOptions options;
  options.seed = seed;
  options.operations = 8;
  options.crash_one_in = 8;
  options.images_per_crash = 2;
  RepeatedSimulation simulation(options);
  const SimulationResult whole = simulation.run();
  EXPECT_EQ(whole.failure, "") << "seed " << seed;
  std::uint64_t examined = whole.crash_states;
  // There are as many runs as operations, and each looks at crash images as large as the disk: at no more than so much.
  const std::uint64_t images_bytes = whole.picks * options.images_per_crash * whole.disk_bytes;
  simulation.set_crash_one_in(static_cast<unsigned>(std::max<std::uint64_t>(8, images_bytes / examined_bytes_per_run)));
  for (plan.nth = 1; plan.nth <= whole.operations_on_disk; ++plan.nth) {
    const SimulationResult result = simulation.run(plan);
    EXPECT_EQ(result.failure, "") << "seed " << seed << ", operation " << plan.nth << ", errno " << plan.errno_value
                                  << (plan.for_ever ? ", for ever; " : "; ") << repeat_command(seed);
    if (testing::Test::HasFailure()) break;
    examined += result.crash_states;
  }
  return examined;
}

std::uint64_t fail_programs(FaultPlan plan, std::uint64_t first_seed, std::uint64_t programs) {
  const auto forced = forced_seed();
  std::uint64_t examined = 0;
  const std::uint64_t first = forced.value_or(first_seed);
  const std::uint64_t last = forced ? *forced + 1 : first + programs;
  for (std::uint64_t seed = first; seed < last; ++seed) {
    examined += fail_every_operation(seed, plan);
    if (testing::Test::HasFailure()) break;
  }
  return examined;
}

void fail_a_few_programs(FaultPlan plan) { report_crash_states(fail_programs(plan, 4'000'000, 40)); }

TEST(Faults, EioOnceAtEveryOperation) { fail_a_few_programs({.nth = 0, .only = {}, .errno_value = EIO}); }
TEST(Faults, EioForEverFromEveryOperation) {
  fail_a_few_programs({.nth = 0, .only = {}, .errno_value = EIO, .for_ever = true});
}
TEST(Faults, EnospcOnceAtEveryOperation) { fail_a_few_programs({.nth = 0, .only = {}, .errno_value = ENOSPC}); }
TEST(Faults, EnospcForEverFromEveryOperation) {
  fail_a_few_programs({.nth = 0, .only = {}, .errno_value = ENOSPC, .for_ever = true});
}
TEST(Faults, ShortTransferAtEveryOperation) {
  fail_a_few_programs({.nth = 0, .only = {}, .for_ever = true, .short_transfer = true});
}

class NightlyFaults : public testing::TestWithParam<std::uint64_t> {};

TEST_P(NightlyFaults, OnceAndForEverAtEveryOperation) {
  constexpr std::uint64_t programs = 750;
  const std::uint64_t first = 140'000'000 + GetParam() * programs;
  std::uint64_t examined = 0;
  for (const bool for_ever : {false, true}) {
    for (const int errno_value : {EIO, ENOSPC}) {
      examined +=
          fail_programs({.nth = 0, .only = {}, .errno_value = errno_value, .for_ever = for_ever}, first, programs);
    }
  }
  examined += fail_programs({.nth = 0, .only = {}, .for_ever = true, .short_transfer = true}, first, programs);
  report_crash_states(examined);
}

INSTANTIATE_TEST_SUITE_P(Share, NightlyFaults, testing::Values(0u, 1u, 2u, 3u));

}  // namespace
}  // namespace byre::test
