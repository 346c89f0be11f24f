// The poller without io_uring: whatever waits, waits in a worker thread, but for sockets.
#pragma once

#include <poll.h>

#include <memory>
#include <vector>

#include "byre/task/event_loop.h"
#include "task/pool_completions.h"

namespace byre {

class ThreadPoller final : public Poller {
 public:
  explicit ThreadPoller(std::unique_ptr<PoolCompletions> completions);

  bool wait(bool may_block) override;
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
  void look(int timeout_milliseconds);

  std::unique_ptr<PoolCompletions> completions_;
  std::vector<pollfd> descriptors_;               // the eventfd first
  std::vector<std::coroutine_handle<>> waiters_;  // of the descriptors behind it
};

}  // namespace byre
