// Keeps a copy to so many bytes a second.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "byre/task/task.h"

namespace byre::ops {

class Pace {
 public:
  // From now on. 0: as fast as it goes. `cancel` may be null.
  Pace(std::uint64_t bytes_per_second, const std::atomic<bool>* cancel);

  // Waits until so many bytes since the beginning are due, or `cancel` is true: that is heard within 20 ms.
  Task<void> wait_for(std::uint64_t copied_bytes);

 private:
  using Clock = std::chrono::steady_clock;
  const std::uint64_t bytes_per_second_;
  const std::atomic<bool>* const cancel_;
  const Clock::time_point began_ = Clock::now();
};

}  // namespace byre::ops
