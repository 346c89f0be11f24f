// The poller without io_uring: whatever waits, waits in a worker thread.
#pragma once

#include <memory>

#include "byre/task/event_loop.h"
#include "task/pool_completions.h"

namespace byre {

class ThreadPoller final : public Poller {
 public:
  explicit ThreadPoller(std::unique_ptr<PoolCompletions> completions) : completions_(std::move(completions)) {}

  bool wait(bool may_block) override;
  void wake() override { completions_->notify(); }
  void offload(std::function<void()> work, std::coroutine_handle<> done) override {
    completions_->offload(std::move(work), done);
  }
  void offload_blocking(std::function<void()> work, std::coroutine_handle<> done) override {
    completions_->offload_blocking(std::move(work), done);
  }

 private:
  std::unique_ptr<PoolCompletions> completions_;
};

}  // namespace byre
