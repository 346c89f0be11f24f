#include "support/seeded_runs.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>

#include "base/probe.h"
#include "support/crash_count.h"

namespace byre::test {
namespace {

const char* forced_seed() { return std::getenv("BYRE_SIM_SEED"); }

std::uint64_t first_seed(std::uint64_t usual) {
  return forced_seed() ? std::strtoull(forced_seed(), nullptr, 10) : usual;
}

SeededOutcome run_once(std::uint64_t seed, std::size_t file, const FaultPlan& fault, const SeededRun& run) {
  SeededOutcome outcome = run(seed, file, fault);
  const auto* info = testing::UnitTest::GetInstance()->current_test_info();
  EXPECT_EQ(outcome.failure, "") << "seed " << seed << ", fault at operation " << fault.nth << " of file " << file
                                 << "; repeat with: BYRE_SIM_SEED=" << seed
                                 << " build/tests/sim_tests --gtest_filter=" << info->test_suite_name() << "."
                                 << info->name();
  return outcome;
}

std::uint64_t run_with_faults(std::uint64_t seed, std::size_t file, std::uint64_t operations, bool for_ever,
                              const SeededRun& run) {
  std::uint64_t examined = 0;
  for (std::uint64_t nth = 1; nth <= operations && !testing::Test::HasFailure(); ++nth) {
    FaultPlan fault;
    fault.nth = nth;
    fault.errno_value = nth % 2 == 0 ? EIO : ENOSPC;
    fault.for_ever = for_ever && nth % 3 == 0;
    examined += run_once(seed, file, fault, run).crash_states;
  }
  return examined;
}

}  // namespace

void run_until(std::uint64_t first, std::uint64_t crash_states, const SeededRun& run) {
  std::uint64_t examined = 0;
  for (std::uint64_t seed = first_seed(first); examined < crash_states; ++seed) {
    examined += run_once(seed, 0, {}, run).crash_states;
    if (testing::Test::HasFailure() || forced_seed()) return;
  }
  report_crash_states(examined);
}

void fail_every_operation(std::uint64_t first, std::uint64_t programs, bool for_ever, const SeededRun& run) {
  std::uint64_t examined = 0;
  for (std::uint64_t i = 0; i < (forced_seed() ? 1 : programs); ++i) {
    const std::uint64_t seed = first_seed(first) + i;
    const SeededOutcome whole = run_once(seed, 0, {}, run);
    examined += whole.crash_states;
    for (std::size_t file = 0; file < whole.operations.size(); ++file) {
      examined += run_with_faults(seed, file, whole.operations[file], for_ever, run);
    }
    if (testing::Test::HasFailure()) return;
  }
  report_crash_states(examined);
}

void expect_passed(std::initializer_list<const char*> probes) {
  if (forced_seed()) return;
  for (const char* probe : probes) EXPECT_GT(Probe::passed(probe), 0u) << probe;
}

}  // namespace byre::test
