// One session with a fault in it: open, read a snapshot, write, flush, grow, shrink, close. And where each of its I/O
// goes: the site, "write L2 table" for instance. A site is found without the engine's help, from what the range that is
// touched belongs to, then or after the next flush.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "byre/storage/simulated.h"

namespace byre::test {

struct FaultRunResult {
  std::vector<std::string> sites;  // of operation 1, 2, ... of the session
  std::uint64_t faults = 0;
  std::uint64_t crash_states = 0;
  std::string failure;  // empty: nothing found
};

// What is checked: a call fails or works; no crash state is unsound or reads what it may not; without the fault the
// session goes on, and ends with a clean close. `trace` fills in the sites.
FaultRunResult run_with_fault(std::uint64_t seed, const FaultPlan& fault, bool trace);

}  // namespace byre::test
