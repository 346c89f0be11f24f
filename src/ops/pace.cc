// A slow copy pauses for minutes: it must be heard that it shall end, so that a long pause is many short ones.

#include "ops/pace.h"

#include <algorithm>

#include "byre/task/pause.h"

namespace byre::ops {
namespace {

constexpr std::chrono::microseconds longest_deaf_pause{20'000};

}  // namespace

Pace::Pace(std::uint64_t bytes_per_second, const std::atomic<bool>* cancel)
    : bytes_per_second_(bytes_per_second), cancel_(cancel) {}

Task<void> Pace::wait_for(std::uint64_t copied_bytes) {
  if (bytes_per_second_ == 0) co_return;
  const double due = static_cast<double>(copied_bytes) * 1e6 / static_cast<double>(bytes_per_second_);
  const auto passed = std::chrono::duration<double, std::micro>(Clock::now() - began_).count();
  std::chrono::microseconds left(static_cast<std::int64_t>(due - passed));
  for (; left.count() > 0 && !(cancel_ && cancel_->load()); left -= longest_deaf_pause) {
    co_await pause_for(std::min(left, longest_deaf_pause));
  }
}

}  // namespace byre::ops
