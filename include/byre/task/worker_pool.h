// Threads for what would hold a loop up: pure computation, and system calls that block.
#pragma once

#include <condition_variable>
#include <coroutine>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace byre {

// Runs jobs in the order they come, each on one of up to `thread_limit` threads. Threads are started when a job finds
// none idle, and end with the pool. Thread-safe.
class WorkerPool {
 public:
  // A job belongs to whoever starts it, must outlive its run, and is not touched after `run` was entered.
  struct Job {
    void (*run)(Job& job) = nullptr;
    Job* next = nullptr;
  };

  // 0: as many threads as the machine has.
  explicit WorkerPool(unsigned thread_limit = 0);
  // Runs what was started, then ends the threads.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void start(Job& job);
  unsigned thread_limit() const { return thread_limit_; }

  // The pools that loops share by default. They live as long as somebody holds them.
  static std::shared_ptr<WorkerPool> shared_for_computation();     // one thread per processor
  static std::shared_ptr<WorkerPool> shared_for_blocking_calls();  // more: its threads mostly sleep in the kernel

 private:
  void work();

  const unsigned thread_limit_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  Job* first_ = nullptr;
  Job* last_ = nullptr;
  unsigned idle_ = 0;
  std::size_t queued_ = 0;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace byre
