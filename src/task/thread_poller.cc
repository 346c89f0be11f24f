// Both a finished job and another thread's wake() set the notice and make the eventfd readable, so that poll(2) on it,
// and on the sockets that are waited for, is the only place to sleep.

#include "task/thread_poller.h"

#include <sys/epoll.h>

#include <cerrno>
#include <utility>

namespace byre {

Result<std::unique_ptr<ThreadPoller>> ThreadPoller::make(std::unique_ptr<PoolCompletions> completions) {
  Descriptor told(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{EPOLLIN, {}};
  if (told.get() < 0 || ::epoll_ctl(told.get(), EPOLL_CTL_ADD, completions->event_fd(), &event) != 0) {
    return std::unexpected(Error::from_errno(errno, "cannot make an epoll instance for the event loop"));
  }
  return std::unique_ptr<ThreadPoller>(new ThreadPoller(std::move(completions), std::move(told)));
}

ThreadPoller::ThreadPoller(std::unique_ptr<PoolCompletions> completions, Descriptor told)
    : completions_(std::move(completions)), told_(std::move(told)) {
  descriptors_.push_back({completions_->event_fd(), POLLIN, 0});
}

void ThreadPoller::when_ready(int fd, short events, std::coroutine_handle<> waiter) {
  descriptors_.push_back({fd, events, 0});
  waiters_.push_back(waiter);
}

unsigned ThreadPoller::events_of(int fd) const {
  unsigned events = 0;
  for (const pollfd& descriptor : descriptors_) {
    if (descriptor.fd == fd) events |= static_cast<unsigned>(descriptor.events);
  }
  return events;
}

// poll(2) and epoll have the same numbers for events. A descriptor that two coroutines wait for goes in once.
void ThreadPoller::arm() {
  disarm();
  for (std::size_t i = 1; i < descriptors_.size(); ++i) {
    const int fd = descriptors_[i].fd;
    epoll_event event{events_of(fd), {}};
    if (::epoll_ctl(told_.get(), EPOLL_CTL_ADD, fd, &event) == 0) armed_.push_back(fd);
  }
}

void ThreadPoller::disarm() {
  for (const int fd : armed_) ::epoll_ctl(told_.get(), EPOLL_CTL_DEL, fd, nullptr);
  armed_.clear();
}

bool ThreadPoller::wait(bool may_block) {
  disarm();
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
