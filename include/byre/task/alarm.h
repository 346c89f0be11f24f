// Something to wait for that comes at a time which may be changed meanwhile.
#pragma once

#include <chrono>
#include <memory>

#include "byre/base/result.h"
#include "byre/task/socket.h"
#include "byre/task/task.h"

namespace byre {

// Loop's thread only. One coroutine waits at a time.
class Alarm {
 public:
  using Clock = std::chrono::steady_clock;

  static Result<Alarm> make();

  // It rings at that time, or at once if it has passed. Replaces what was set before.
  void set(Clock::time_point time) noexcept;
  void clear() noexcept;

  // Until it rings; then nothing is set.
  Task<Result<void>> wait();

 private:
  explicit Alarm(Descriptor timer) : timer_(std::move(timer)) {}
  Descriptor timer_;
};

}  // namespace byre
