// Which sanitizer the tests run under: what costs much there and shows nothing more is done less often.

#pragma once

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BYRE_THREAD_SANITIZED
#endif
#elif defined(__SANITIZE_THREAD__)
#define BYRE_THREAD_SANITIZED
#endif

namespace byre::test {

#ifdef BYRE_THREAD_SANITIZED
inline constexpr bool thread_sanitized = true;
#else
inline constexpr bool thread_sanitized = false;
#endif

}  // namespace byre::test
