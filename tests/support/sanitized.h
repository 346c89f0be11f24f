// What costs much under a sanitizer is done less often there: what runs on one thread, under the thread sanitizer,
// which finds nothing in it, and further examples of what was shown already, under both.

#pragma once

#include <cstddef>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BYRE_THREAD_SANITIZED
#endif
#if __has_feature(address_sanitizer)
#define BYRE_ADDRESS_SANITIZED
#endif
#else
#ifdef __SANITIZE_THREAD__
#define BYRE_THREAD_SANITIZED
#endif
#ifdef __SANITIZE_ADDRESS__
#define BYRE_ADDRESS_SANITIZED
#endif
#endif

namespace byre::test {

// Of many images, each so many-th is enough.
#ifdef BYRE_THREAD_SANITIZED
inline constexpr std::size_t single_threaded_step = 7;
#else
inline constexpr std::size_t single_threaded_step = 1;
#endif

// Of `count` examples that differ in their random numbers alone.
#if defined(BYRE_THREAD_SANITIZED) || defined(BYRE_ADDRESS_SANITIZED)
constexpr unsigned examples(unsigned count) { return (count + 3) / 4; }
#else
constexpr unsigned examples(unsigned count) { return count; }
#endif

}  // namespace byre::test
