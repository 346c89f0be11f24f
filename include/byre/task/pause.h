// Waiting for time to pass, on a loop.
#pragma once

#include <chrono>

#include "byre/task/task.h"

namespace byre {

// The calling coroutine goes on after at least that long; the loop's thread does not wait. Nothing for 0 or less.
Task<void> pause_for(std::chrono::microseconds length);

}  // namespace byre
