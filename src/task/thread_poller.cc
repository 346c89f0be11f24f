// Both a finished job and another thread's wake() set the notice and make the eventfd readable, so that poll(2) on it
// is the only place to sleep.

#include "task/thread_poller.h"

#include <poll.h>

namespace byre {

bool ThreadPoller::wait(bool may_block) {
  if (!completions_->has_notice()) {
    if (!may_block) return true;
    if (completions_->under_way() == 0) return false;
    pollfd waiting{completions_->event_fd(), POLLIN, 0};
    ::poll(&waiting, 1, -1);  // EINTR: the loop comes back
  }
  // Drained before the notice is taken: a notify() in between finds the notice still set, and is covered by collect().
  completions_->drain();
  if (completions_->take_notice()) completions_->collect();
  return true;
}

}  // namespace byre
