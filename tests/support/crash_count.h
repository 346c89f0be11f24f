// How many crash states a test has examined: it says so when it ends, and tests/crash-states adds them up.
#pragma once

#include <cstdint>

namespace byre::test {

// Prints the count and, in the directory $BYRE_CRASH_STATES if that is set, leaves it in a file named by the running
// test. Called once by a test that found nothing.
void report_crash_states(std::uint64_t count);

}  // namespace byre::test
