// What costs much under the thread sanitizer and runs on one thread, so that it shows nothing there, is done less
// often.

#pragma once

#include <cstddef>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BYRE_THREAD_SANITIZED
#endif
#elif defined(__SANITIZE_THREAD__)
#define BYRE_THREAD_SANITIZED
#endif

namespace byre::test {

// Of many images, each so many-th is enough.
#ifdef BYRE_THREAD_SANITIZED
inline constexpr std::size_t single_threaded_step = 7;
#else
inline constexpr std::size_t single_threaded_step = 1;
#endif

}  // namespace byre::test
