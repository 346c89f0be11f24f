// One system call on a socket, or the wait for a descriptor to become readable: by io_uring where the loop has a ring,
// else without waiting, and again once poll(2) says that it can be done.
#pragma once

#include <sys/socket.h>

#include <coroutine>
#include <cstdint>

#include "task/transfer_vectors.h"
#include "task/uring_poller.h"

namespace byre {

// co_await on a named SocketCall yields what the call returned: a count, or -errno; -EINTR and -EAGAIN mean that the
// caller should make another. It must stay where it is until then, as must what it refers to.
class SocketCall {
 public:
  static SocketCall receive(int fd, Bytes target, int flags);
  static SocketCall send(int fd, TransferVectors& from);
  static SocketCall readable(int fd);  // yields at least 0 once something can be read, or the other end hung up

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> waiter);
  std::int64_t await_resume() const noexcept { return on_ring_ ? request_.result : result_; }

 private:
  enum class Kind { receive, send, readable };
  SocketCall(Kind kind, int fd) : kind_(kind), fd_(fd) {}
  void start_on_ring(UringPoller& poller);
  std::int64_t perform();

  Kind kind_;
  int fd_;
  bool on_ring_ = false;
  Bytes target_;
  int flags_ = 0;
  msghdr message_{};
  std::int64_t result_ = 0;
  UringPoller::Request request_;
};

}  // namespace byre
