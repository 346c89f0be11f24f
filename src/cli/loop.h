// Running the library's tasks from a command.
#pragma once

#include <memory>
#include <utility>

#include "byre/base/result.h"
#include "byre/task/event_loop.h"
#include "byre/task/pollers.h"
#include "byre/task/task.h"

namespace byre::cli {

// Makes an event loop, runs the task on it to its end, and returns its value. The task opens and closes its images
// itself: the value must hold nothing that belongs to the loop.
template <class T>
Result<T> run_on_loop(Task<Result<T>> task, IoMode mode = IoMode::automatic) {
  BYRE_TRY(std::unique_ptr<EventLoop> loop, make_event_loop(mode));
  Result<T> result = loop->run(std::move(task));
  loop->run_spawned();
  return result;
}

}  // namespace byre::cli
