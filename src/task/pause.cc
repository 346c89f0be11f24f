// A thread of those that mostly sleep does it: pauses are rare, and a loop has no clock of its own.

#include "byre/task/pause.h"

#include <thread>

#include "byre/task/event_loop.h"

namespace byre {
namespace {

class Pause {
 public:
  explicit Pause(std::chrono::microseconds length) : length_(length) {}
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> done) const {
    const auto length = length_;
    EventLoop::current().poller().offload_blocking([length] { std::this_thread::sleep_for(length); }, done);
  }
  void await_resume() const {}

 private:
  std::chrono::microseconds length_;
};

}  // namespace

Task<void> pause_for(std::chrono::microseconds length) {
  if (length.count() > 0) co_await Pause(length);
}

}  // namespace byre
