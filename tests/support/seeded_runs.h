// Suites of runs that follow from a seed: until enough crash states were examined, or with a fault at each I/O. A
// failure prints the seed and the command that repeats it; BYRE_SIM_SEED runs that one alone.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "byre/storage/simulated.h"

namespace byre::test {

struct SeededOutcome {
  std::string failure;  // empty: nothing found
  std::uint64_t crash_states = 0;
  std::vector<std::uint64_t> operations;  // I/O where a fault may be placed, on each file
};

// `file` is the one that meets the fault.
using SeededRun = std::function<SeededOutcome(std::uint64_t seed, std::size_t file, const FaultPlan& fault)>;

// Seeds from `first` on.
void run_until(std::uint64_t first, std::uint64_t crash_states, const SeededRun& run);

// Each of so many seeds first without a fault, then with one at each of its I/Os: EIO and ENOSPC in turn, and with
// `for_ever` every third one for good.
void fail_every_operation(std::uint64_t first, std::uint64_t programs, bool for_ever, const SeededRun& run);

// What a suite proves nothing about unless its runs got there (base/probe.h). One seed alone is let off.
void expect_passed(std::initializer_list<const char*> probes);

}  // namespace byre::test
