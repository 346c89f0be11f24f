// Assertions guard the engine's own invariants, stay on in release builds, and never judge input.
#pragma once

namespace byre {

// Reports the broken invariant through the process's abort path; does not return.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

}  // namespace byre

#define BYRE_ASSERT(condition)                                  \
  do {                                                          \
    if (!(condition)) [[unlikely]]                              \
      ::byre::assertion_failed(#condition, __FILE__, __LINE__); \
  } while (false)
