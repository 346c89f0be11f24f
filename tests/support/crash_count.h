// The one line in which a test says how many crash states it has examined; tools/crash-states adds them up.
#pragma once

#include <cstdint>
#include <cstdio>

namespace byre::test {

inline void report_crash_states(std::uint64_t count) {
  std::printf("crash states: %llu\n", static_cast<unsigned long long>(count));
}

}  // namespace byre::test
