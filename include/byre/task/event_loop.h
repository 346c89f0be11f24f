// One thread, one queue of coroutines that can go on, one place to wait.
#pragma once

#include <coroutine>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "byre/task/task.h"

namespace byre {

// Where a loop waits when nothing is ready: io_uring, an eventfd, or the simulator that picks the next completion.
class Poller {
 public:
  virtual ~Poller() = default;

  // Blocks until something completed (its coroutine was passed to EventLoop::schedule) or wake() was called.
  // Returns false if nothing is under way that could ever complete; the loop then reports a deadlock.
  // With `may_block` false, it only collects what is already there.
  virtual bool wait(bool may_block) = 0;

  // Makes a blocked or the next wait() return. Thread-safe.
  virtual void wake() = 0;

  // For callers that wait by themselves: a descriptor that, once arm() was called, becomes readable when wait() would
  // find something, also for a wake(). It stays the same for life. -1: there is none (the simulator).
  virtual int descriptor() const { return -1; }
  // Hands over what was asked for, and has the descriptor tell. Lasts until the next wait().
  virtual void arm() {}

  // Runs `work` away from the loop's thread and then `done` on it (the simulator: later, in an order it picks).
  // `work` must touch nothing that the loop's thread touches. Called on the loop's thread.
  virtual void offload(std::function<void()> work, std::coroutine_handle<> done) = 0;

  // The same for work that mostly sleeps in the kernel (a blocking system call): it must not hold up computation.
  virtual void offload_blocking(std::function<void()> work, std::coroutine_handle<> done) {
    offload(std::move(work), done);
  }
};

// Not thread-safe but for post(). An image and everything it uses live on one loop; a thread runs one loop at a time.
class EventLoop {
 public:
  explicit EventLoop(std::unique_ptr<Poller> poller);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // The loop that this thread is running, or the one made last on it. Asserts that there is one.
  static EventLoop& current();

  // Resumes `handle` after what is queued before it. Loop's thread only.
  void schedule(std::coroutine_handle<> handle) { ready_.push_back(handle); }

  // Runs `function` on the loop's thread. Thread-safe.
  void post(std::function<void()> function);

  // Starts a task that nobody awaits; the loop owns it until it ends.
  void spawn(Task<void> task);

  // Runs everything that is ready until `task` is done, and returns its value. Not re-entrant.
  template <class T>
  T run(Task<T> task) {
    Running scope(*this);
    task.start();
    while (!task.finished()) turn();
    return task.take();
  }

  // Runs until all spawned tasks have ended.
  void run_spawned();

  // For a caller that has a loop of its own and must not wait in this one. advance() runs whatever can go on and hands
  // requests to the kernel; descriptor() then becomes readable (POLLIN of poll(2), epoll, ...) when there is a reason
  // to call it again. Call it after spawn() and post() too: both may leave something to hand over. -1: the poller has
  // no descriptor. A single call does not go on for ever: it may leave work, and then the descriptor is readable.
  void advance();
  int descriptor() const { return poller_->descriptor(); }

  Poller& poller() { return *poller_; }

 private:
  struct Running {
    explicit Running(EventLoop& loop);
    ~Running();
    EventLoop* previous;
  };
  void turn();
  bool run_ready();
  void run_posted();
  bool has_posted();

  std::unique_ptr<Poller> poller_;
  std::vector<std::coroutine_handle<>> ready_;
  std::vector<std::coroutine_handle<>> batch_;
  std::size_t spawned_ = 0;
  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
};

// co_await yield_now(): lets everything else that is ready run first.
struct YieldAwaiter {
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> self) const { EventLoop::current().schedule(self); }
  void await_resume() const noexcept {}
};
inline YieldAwaiter yield_now() { return {}; }

// co_await offload(function): runs it in the worker pool. `function` must own or outlive what it uses.
struct OffloadAwaiter {
  std::function<void()> work;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> self) { EventLoop::current().poller().offload(std::move(work), self); }
  void await_resume() const noexcept {}
};
inline OffloadAwaiter offload(std::function<void()> work) { return {std::move(work)}; }

}  // namespace byre
