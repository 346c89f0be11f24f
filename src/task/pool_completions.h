// The way back from worker threads to a loop: finished jobs in a list, an eventfd that says so.
#pragma once

#include <atomic>
#include <coroutine>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "byre/base/result.h"
#include "byre/task/worker_pool.h"

namespace byre {

// Loop's thread only, but for notify(). Owns the eventfd that both workers and other threads wake the loop with.
class PoolCompletions {
 public:
  static Result<std::unique_ptr<PoolCompletions>> make();
  // Waits for the jobs that still run.
  ~PoolCompletions();
  PoolCompletions(const PoolCompletions&) = delete;
  PoolCompletions& operator=(const PoolCompletions&) = delete;

  void offload(std::function<void()> work, std::coroutine_handle<> done);
  void offload_blocking(std::function<void()> work, std::coroutine_handle<> done);

  // Jobs that were started and not yet collected.
  std::size_t under_way() const { return under_way_; }
  // Schedules what has finished.
  void collect();

  // Makes event_fd() readable, unless it already was told to and take_notice() has not been called since. Thread-safe.
  void notify();
  // True if notify() was called since the last time. The loop must look at its queues after this.
  bool take_notice() { return noticed_.exchange(false, std::memory_order_acq_rel); }
  bool has_notice() const { return noticed_.load(std::memory_order_acquire); }
  int event_fd() const { return event_fd_; }
  // Empties the eventfd without waiting.
  void drain();

 private:
  struct Job : WorkerPool::Job {
    PoolCompletions* owner = nullptr;
    std::function<void()> work;
    std::coroutine_handle<> done;
  };
  explicit PoolCompletions(int event_fd) : event_fd_(event_fd) {}
  void start(std::shared_ptr<WorkerPool>& pool, std::function<void()> work, std::coroutine_handle<> done);
  static void run(WorkerPool::Job& job);

  const int event_fd_;
  std::atomic<bool> noticed_{false};
  std::size_t under_way_ = 0;
  std::vector<std::unique_ptr<Job>> jobs_;
  std::vector<Job*> spare_;
  std::mutex finished_mutex_;
  WorkerPool::Job* finished_ = nullptr;  // newest first
  std::shared_ptr<WorkerPool> computation_, blocking_;
};

}  // namespace byre
