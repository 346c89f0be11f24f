// The poller without io_uring: whatever waits, waits in a worker thread, but for sockets.
#pragma once

#include <poll.h>

#include <memory>
#include <vector>

#include "byre/base/result.h"
#include "byre/task/event_loop.h"
#include "byre/task/socket.h"
#include "task/pool_completions.h"

namespace byre {

class ThreadPoller final : public Poller {
 public:
  static Result<std::unique_ptr<ThreadPoller>> make(std::unique_ptr<PoolCompletions> completions);

  bool wait(bool may_block) override;
  int descriptor() const override { return told_.get(); }
  void arm() override;
  void wake() override { completions_->notify(); }
  void offload(std::function<void()> work, std::coroutine_handle<> done) override {
    completions_->offload(std::move(work), done);
  }
  void offload_blocking(std::function<void()> work, std::coroutine_handle<> done) override {
    completions_->offload_blocking(std::move(work), done);
  }

  // Resumes `waiter` once the descriptor has one of the events of poll(2), an error or a hang-up.
  void when_ready(int fd, short events, std::coroutine_handle<> waiter);

 private:
  ThreadPoller(std::unique_ptr<PoolCompletions> completions, Descriptor told);
  unsigned events_of(int fd) const;
  void look(int timeout_milliseconds);
  void disarm();

  std::unique_ptr<PoolCompletions> completions_;
  std::vector<pollfd> descriptors_;               // the eventfd first
  std::vector<std::coroutine_handle<>> waiters_;  // of the descriptors behind it
  Descriptor told_;         // an epoll instance: the eventfd, and while armed what poll(2) would look at
  std::vector<int> armed_;  // what is in it besides the eventfd
};

}  // namespace byre
