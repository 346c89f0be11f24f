// The loop: resume what is ready, take what other threads posted, else wait at the poller. Coroutines resumed in one
// batch may queue others; those run in the next batch, so that completions are collected in between.

#include "byre/task/event_loop.h"

#include "byre/base/assert.h"

namespace byre {
namespace {
constexpr int most_turns_at_once = 64;

thread_local EventLoop* current_loop = nullptr;

// Owns itself: ends when the task ends. It must be started from the loop.
struct Detached {
  struct promise_type {
    static void* operator new(std::size_t size_bytes) { return allocate_frame(size_bytes); }
    static void operator delete(void* frame, std::size_t size_bytes) noexcept { release_frame(frame, size_bytes); }
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};

Detached run_detached(Task<void> task, std::size_t& running) {
  ++running;
  co_await task;
  --running;
}
}  // namespace

EventLoop::EventLoop(std::unique_ptr<Poller> poller) : poller_(std::move(poller)) {
  if (!current_loop) current_loop = this;
}

EventLoop::~EventLoop() {
  BYRE_ASSERT(spawned_ == 0);
  if (current_loop == this) current_loop = nullptr;
}

EventLoop& EventLoop::current() {
  BYRE_ASSERT(current_loop != nullptr);
  return *current_loop;
}

EventLoop::Running::Running(EventLoop& loop) : previous(current_loop) { current_loop = &loop; }
EventLoop::Running::~Running() { current_loop = previous; }

void EventLoop::post(std::function<void()> function) {
  {
    std::lock_guard lock(posted_mutex_);
    posted_.push_back(std::move(function));
  }
  poller_->wake();
}

void EventLoop::spawn(Task<void> task) {
  Running scope(*this);
  run_detached(std::move(task), spawned_);
}

void EventLoop::run_spawned() {
  Running scope(*this);
  while (spawned_ > 0) turn();
}

void EventLoop::advance() {
  Running scope(*this);
  for (int turns = 0; turns < most_turns_at_once; ++turns) {
    run_posted();
    run_ready();
    poller_->wait(false);
    if (ready_.empty() && !has_posted()) break;
  }
  if (!ready_.empty() || has_posted()) poller_->wake();
  poller_->arm();
}

void EventLoop::turn() {
  run_posted();
  // What the first made ready, replies for the most part, goes before what both started. The next turn, if there is
  // one, hands over what was started and sleeps in the same system call.
  for (int batch = 0; batch < 2 && run_ready(); ++batch) {
    if (ready_.empty()) return;
  }
  const bool more = !ready_.empty();
  const bool can_complete = poller_->wait(!more);
  BYRE_ASSERT(more || can_complete);  // else every coroutine waits for another one
}

bool EventLoop::run_ready() {
  if (ready_.empty()) return false;
  batch_.swap(ready_);
  for (auto handle : batch_) handle.resume();
  batch_.clear();
  return true;
}

bool EventLoop::has_posted() {
  std::lock_guard lock(posted_mutex_);
  return !posted_.empty();
}

void EventLoop::run_posted() {
  std::vector<std::function<void()>> functions;
  {
    std::lock_guard lock(posted_mutex_);
    functions.swap(posted_);
  }
  for (auto& function : functions) function();
}

}  // namespace byre
