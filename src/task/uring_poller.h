// The poller over io_uring. It knows submission entries and completions, and nothing of files.
#pragma once

#include <liburing.h>

#include <memory>

#include "byre/task/event_loop.h"
#include "task/pool_completions.h"

namespace byre {

class UringPoller final : public Poller {
 public:
  // What a completion goes to: lives in the waiting coroutine's frame until it is resumed.
  struct Request {
    std::coroutine_handle<> waiter;
    std::int32_t result = 0;  // as the system call returns it: -errno on failure
  };

  // Fails where the system has no io_uring or forbids it (containers, seccomp, io_uring_disabled).
  static Result<std::unique_ptr<UringPoller>> make(std::unique_ptr<PoolCompletions> completions);
  ~UringPoller() override;

  bool wait(bool may_block) override;
  int descriptor() const override { return ring_.ring_fd; }  // readable while completions are there
  void arm() override;
  void wake() override { completions_->notify(); }
  void offload(std::function<void()> work, std::coroutine_handle<> done) override {
    completions_->offload(std::move(work), done);
  }
  void offload_blocking(std::function<void()> work, std::coroutine_handle<> done) override {
    completions_->offload_blocking(std::move(work), done);
  }

  // Returns an empty submission entry, which the caller fills with io_uring_prep_*() and passes to start() at once.
  io_uring_sqe* next_entry();
  // Submits the entry, with whatever else the running coroutines ask for, when the loop waits next. Then
  // `request.waiter` is resumed with the result.
  void start(io_uring_sqe* entry, Request& request);

 private:
  explicit UringPoller(std::unique_ptr<PoolCompletions> completions) : completions_(std::move(completions)) {}
  void arm_event();
  void collect();

  std::unique_ptr<PoolCompletions> completions_;
  io_uring ring_{};
  bool have_ring_ = false;
  std::size_t under_way_ = 0;  // requests; the armed eventfd does not count
  bool event_armed_ = false;
};

}  // namespace byre
