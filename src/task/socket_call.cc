// Sending is tried at once. Otherwise a ring makes the call when it can be made, in the same system call as the disk's
// requests. Without one, a call that would have to wait returns at once, and poll(2) is asked when to come back.

#include "task/socket_call.h"

#include <poll.h>

#include <cerrno>

#include "byre/base/assert.h"
#include "task/thread_poller.h"

namespace byre {

SocketCall SocketCall::receive(int fd, Bytes target, int flags) {
  SocketCall call(Kind::receive, fd);
  call.target_ = target;
  call.flags_ = flags;
  return call;
}

SocketCall SocketCall::send(int fd, TransferVectors& from) {
  SocketCall call(Kind::send, fd);
  call.message_.msg_iov = from.data();
  call.message_.msg_iovlen = from.count();
  return call;
}

SocketCall SocketCall::readable(int fd) { return SocketCall(Kind::readable, fd); }

bool SocketCall::await_suspend(std::coroutine_handle<> waiter) {
  Poller& poller = EventLoop::current().poller();
  if (kind_ == Kind::send) {  // the socket's buffer mostly has room, and the other end is woken without delay
    result_ = perform();
    if (result_ != -EAGAIN) return false;
  }
  if (auto* ring = dynamic_cast<UringPoller*>(&poller)) {
    on_ring_ = true;
    request_.waiter = waiter;
    start_on_ring(*ring);
    return true;
  }
  auto* threads = dynamic_cast<ThreadPoller*>(&poller);
  BYRE_ASSERT(threads != nullptr);  // a simulated disk has no network
  result_ = perform();
  if (result_ != -EAGAIN) return false;
  threads->when_ready(fd_, kind_ == Kind::send ? POLLOUT : POLLIN, waiter);
  return true;
}

void SocketCall::start_on_ring(UringPoller& poller) {
  io_uring_sqe* entry = poller.next_entry();
  switch (kind_) {
    case Kind::receive: io_uring_prep_recv(entry, fd_, target_.data(), target_.size(), flags_); break;
    case Kind::send: io_uring_prep_sendmsg(entry, fd_, &message_, MSG_NOSIGNAL); break;
    case Kind::readable: io_uring_prep_poll_add(entry, fd_, POLLIN); break;
  }
  poller.start(entry, request_);
}

std::int64_t SocketCall::perform() {
  const auto status = [](std::int64_t returned) { return returned < 0 ? -std::int64_t{errno} : returned; };
  switch (kind_) {
    case Kind::receive: return status(::recv(fd_, target_.data(), target_.size(), MSG_DONTWAIT));
    case Kind::send: return status(::sendmsg(fd_, &message_, MSG_DONTWAIT | MSG_NOSIGNAL));
    case Kind::readable: break;
  }
  pollfd looked{fd_, POLLIN, 0};
  const std::int64_t ready = status(::poll(&looked, 1, 0));
  return ready == 0 ? -EAGAIN : ready;
}

}  // namespace byre
