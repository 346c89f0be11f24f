// Both a finished job and another thread's wake() set the notice and make the eventfd readable, so that poll(2) on it,
// and on the sockets that are waited for, is the only place to sleep.

#include "task/thread_poller.h"

namespace byre {

ThreadPoller::ThreadPoller(std::unique_ptr<PoolCompletions> completions) : completions_(std::move(completions)) {
  descriptors_.push_back({completions_->event_fd(), POLLIN, 0});
}

void ThreadPoller::when_ready(int fd, short events, std::coroutine_handle<> waiter) {
  descriptors_.push_back({fd, events, 0});
  waiters_.push_back(waiter);
}

bool ThreadPoller::wait(bool may_block) {
  const bool noticed = completions_->has_notice();
  if (!noticed && may_block && completions_->under_way() == 0 && waiters_.empty()) return false;
  const bool block = may_block && !noticed;
  if (block || !waiters_.empty()) look(block ? -1 : 0);
  // Drained before the notice is taken: a notify() in between finds the notice still set, and is covered by collect().
  if (completions_->has_notice()) {
    completions_->drain();
    if (completions_->take_notice()) completions_->collect();
  }
  return true;
}

void ThreadPoller::look(int timeout_milliseconds) {
  if (::poll(descriptors_.data(), descriptors_.size(), timeout_milliseconds) <= 0) return;  // EINTR: it comes back
  std::size_t kept = 0;
  for (std::size_t i = 0; i < waiters_.size(); ++i) {
    if (descriptors_[i + 1].revents != 0) {
      EventLoop::current().schedule(waiters_[i]);
      continue;
    }
    descriptors_[kept + 1] = descriptors_[i + 1];
    waiters_[kept++] = waiters_[i];
  }
  descriptors_.resize(kept + 1);
  waiters_.resize(kept);
}

}  // namespace byre
