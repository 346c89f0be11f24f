// A worker links its finished job into a list and writes to the eventfd only if the loop has not been told yet: under
// load one wake-up stands for many jobs. Job records are recycled, so that offloading makes no heap allocation once
// as many have been made as were ever under way at once.

#include "task/pool_completions.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "byre/base/assert.h"
#include "byre/task/event_loop.h"

namespace byre {

Result<std::unique_ptr<PoolCompletions>> PoolCompletions::make() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return std::unexpected(Error::from_errno(errno, "cannot make an eventfd for the event loop"));
  return std::unique_ptr<PoolCompletions>(new PoolCompletions(fd));
}

PoolCompletions::~PoolCompletions() {
  // A worker's last act on this object is notify(), under the mutex, so that an empty list means it has let go.
  std::size_t finished = 0;
  while (finished < under_way_) {
    pollfd waiting{event_fd_, POLLIN, 0};
    ::poll(&waiting, 1, 100);
    drain();
    take_notice();
    std::lock_guard lock(finished_mutex_);
    for (; finished_; finished_ = finished_->next) ++finished;
  }
  ::close(event_fd_);
}

void PoolCompletions::offload(std::function<void()> work, std::coroutine_handle<> done) {
  if (!computation_) computation_ = WorkerPool::shared_for_computation();
  start(computation_, std::move(work), done);
}

void PoolCompletions::offload_blocking(std::function<void()> work, std::coroutine_handle<> done) {
  if (!blocking_) blocking_ = WorkerPool::shared_for_blocking_calls();
  start(blocking_, std::move(work), done);
}

void PoolCompletions::start(std::shared_ptr<WorkerPool>& pool, std::function<void()> work,
                            std::coroutine_handle<> done) {
  if (spare_.empty()) {
    jobs_.push_back(std::make_unique<Job>());
    spare_.reserve(jobs_.capacity());
    spare_.push_back(jobs_.back().get());
  }
  Job& job = *spare_.back();
  spare_.pop_back();
  job.run = run;
  job.owner = this;
  job.work = std::move(work);
  job.done = done;
  ++under_way_;
  pool->start(job);
}

void PoolCompletions::run(WorkerPool::Job& base) {
  auto& job = static_cast<Job&>(base);
  PoolCompletions& owner = *job.owner;
  job.work();
  std::lock_guard lock(owner.finished_mutex_);
  job.next = owner.finished_;
  owner.finished_ = &job;
  owner.notify();
}

void PoolCompletions::collect() {
  WorkerPool::Job* newest;
  {
    std::lock_guard lock(finished_mutex_);
    newest = std::exchange(finished_, nullptr);
  }
  WorkerPool::Job* oldest = nullptr;
  while (newest) {
    WorkerPool::Job* next = std::exchange(newest->next, oldest);
    oldest = std::exchange(newest, next);
  }
  while (oldest) {
    Job& job = static_cast<Job&>(*oldest);
    oldest = oldest->next;
    job.work = nullptr;
    spare_.push_back(&job);
    --under_way_;
    EventLoop::current().schedule(job.done);
  }
}

void PoolCompletions::notify() {
  if (noticed_.exchange(true, std::memory_order_acq_rel)) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(event_fd_, &one, sizeof one);
}

void PoolCompletions::drain() {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto taken = ::read(event_fd_, &count, sizeof count);
}

}  // namespace byre
