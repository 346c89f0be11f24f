// One queue, one lock. A job is some microseconds of system call or much more of computation, so that the lock does
// not matter; there is no work stealing.

#include "byre/task/worker_pool.h"

#include <algorithm>
#include <csignal>

#include "byre/base/assert.h"

namespace byre {
namespace {

constexpr unsigned blocking_threads = 32;  // as deep as a queue to one device needs to be

unsigned processor_count() { return std::max(1u, std::thread::hardware_concurrency()); }

std::shared_ptr<WorkerPool> shared_pool(std::weak_ptr<WorkerPool>& holder, unsigned thread_limit) {
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  auto pool = holder.lock();
  if (!pool) holder = pool = std::make_shared<WorkerPool>(thread_limit);
  return pool;
}

}  // namespace

std::shared_ptr<WorkerPool> WorkerPool::shared_for_computation() {
  static std::weak_ptr<WorkerPool> holder;
  return shared_pool(holder, processor_count());
}

std::shared_ptr<WorkerPool> WorkerPool::shared_for_blocking_calls() {
  static std::weak_ptr<WorkerPool> holder;
  return shared_pool(holder, blocking_threads);
}

WorkerPool::WorkerPool(unsigned thread_limit) : thread_limit_(thread_limit > 0 ? thread_limit : processor_count()) {}

WorkerPool::~WorkerPool() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  arrived_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::start(Job& job) {
  {
    std::lock_guard lock(mutex_);
    BYRE_ASSERT(!ending_);
    job.next = nullptr;
    (last_ ? last_->next : first_) = &job;
    last_ = &job;
    ++queued_;
    if (queued_ > idle_ && threads_.size() < thread_limit_) {
      // The process's signals belong to its own threads: a worker is born with all of them blocked.
      sigset_t all, previous;
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, &previous);
      threads_.emplace_back([this] { work(); });
      pthread_sigmask(SIG_SETMASK, &previous, nullptr);
    }
  }
  arrived_.notify_one();
}

void WorkerPool::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    arrived_.wait(lock, [this] { return first_ || ending_; });
    --idle_;
    if (!first_) return;
    Job* job = first_;
    first_ = job->next;
    if (!first_) last_ = nullptr;
    --queued_;
    lock.unlock();
    job->run(*job);
    lock.lock();
  }
}

}  // namespace byre
