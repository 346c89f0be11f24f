// The kernel's timer is a descriptor that becomes readable, and so is waited for like any other.

#include "byre/task/alarm.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace byre {

Result<Alarm> Alarm::make() {
  Descriptor timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (timer.get() < 0) return std::unexpected(Error::from_errno(errno, "cannot make a timer"));
  return Alarm(std::move(timer));
}

void Alarm::set(Clock::time_point time) noexcept {
  using std::chrono::nanoseconds;
  const auto since_epoch = std::chrono::duration_cast<nanoseconds>(time.time_since_epoch());
  const auto count = std::max<nanoseconds::rep>(since_epoch.count(), 1);  // 0 would clear it
  itimerspec wanted{};
  wanted.it_value.tv_sec = count / 1'000'000'000;
  wanted.it_value.tv_nsec = count % 1'000'000'000;
  ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &wanted, nullptr);
}

void Alarm::clear() noexcept {
  const itimerspec none{};
  ::timerfd_settime(timer_.get(), 0, &none, nullptr);
}

Task<Result<void>> Alarm::wait() {
  BYRE_CO_CHECK(co_await wait_readable(timer_.get()));
  std::uint64_t times = 0;
  [[maybe_unused]] const auto taken = ::read(timer_.get(), &times, sizeof times);
  co_return Result<void>{};
}

}  // namespace byre
