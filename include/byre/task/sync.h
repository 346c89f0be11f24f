// Waiting for one another on one loop: Event, Semaphore, Gate, RangeLock, Turnstile, TaskGroup. None is thread-safe;
// none resumes a waiter inline: a waiter goes on from the loop's queue, so the caller's own state stays as it left it.
#pragma once

#include <coroutine>
#include <cstdint>
#include <list>
#include <map>
#include <utility>

#include "byre/base/assert.h"
#include "byre/base/result.h"
#include "byre/task/event_loop.h"

namespace byre {

// Coroutines that wait, first come first served. The links are in the waiting coroutines' frames.
class WaitQueue {
 public:
  class Awaiter {
   public:
    explicit Awaiter(WaitQueue& queue) : queue_(queue) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> self) {
      waiter_ = self;
      queue_.append(*this);
    }
    void await_resume() const noexcept {}

   private:
    friend class WaitQueue;
    WaitQueue& queue_;
    std::coroutine_handle<> waiter_;
    Awaiter* next_ = nullptr;
  };
  WaitQueue() = default;
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;
  ~WaitQueue() { BYRE_ASSERT(!first_); }

  Awaiter wait() { return Awaiter(*this); }
  void wake_one();
  void wake_all();
  bool empty() const { return !first_; }

 private:
  void append(Awaiter& waiter);
  Awaiter* first_ = nullptr;
  Awaiter* last_ = nullptr;
};

// Set once, stays set until reset.
class Event {
 public:
  Task<void> wait();
  void set();
  void reset() { set_ = false; }
  bool is_set() const { return set_; }

 private:
  bool set_ = false;
  WaitQueue waiters_;
};

// Permits, handed out in the order of the calls: a late caller does not overtake one that waits.
class Semaphore {
 public:
  explicit Semaphore(std::size_t count) : count_(count) {}
  Task<void> acquire();
  void release();

 private:
  std::size_t count_;
  WaitQueue waiters_;
};

// Shared passes for ordinary requests, an exclusive one for operations that need the image to stand still.
// A waiting exclusive pass holds new shared ones back.
class Gate {
 public:
  class Pass {
   public:
    Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)), exclusive_(other.exclusive_) {}
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (gate_) gate_->leave(exclusive_);
    }

   private:
    friend class Gate;
    Pass(Gate* gate, bool exclusive) : gate_(gate), exclusive_(exclusive) {}
    Gate* gate_;
    bool exclusive_;
  };
  Task<Pass> enter();
  Task<Pass> enter_exclusive();

 private:
  void leave(bool exclusive);
  std::size_t inside_ = 0;
  std::size_t exclusive_waiting_ = 0;
  bool closed_ = false;
  WaitQueue waiters_;
};

// Exclusive locks on half-open byte ranges; overlapping requests are served in the order of their calls.
class RangeLock {
 public:
  class Guard {
   public:
    Guard(Guard&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)), entry_(other.entry_) {}
    Guard& operator=(Guard&&) = delete;
    ~Guard() { release(); }
    void release();

   private:
    friend class RangeLock;
    struct Entry;
    Guard(RangeLock* lock, std::uint64_t ticket) : lock_(lock), entry_(ticket) {}
    RangeLock* lock_;
    std::uint64_t entry_;
  };
  // `end` is exclusive and above `begin`.
  Task<Guard> lock(std::uint64_t begin, std::uint64_t end);

 private:
  struct Held {
    std::uint64_t ticket, begin, end;
    bool granted;
    WaitQueue* waiter;
  };
  bool blocked(const Held& wanted) const;
  void release(std::uint64_t ticket);
  std::uint64_t next_ticket_ = 1;
  std::list<Held> held_;   // in the order of their calls
  std::list<Held> spare_;  // nodes for the next ones
};

// Lets coroutines through one after the other in the order of their tickets 0, 1, 2, ... Every ticket has to come,
// once.
class Turnstile {
 public:
  class Awaiter {
   public:
    Awaiter(Turnstile& turnstile, std::uint64_t ticket) : turnstile_(turnstile), ticket_(ticket) {}
    bool await_ready() const noexcept { return turnstile_.now_ == ticket_; }
    void await_suspend(std::coroutine_handle<> self) { turnstile_.waiting_.emplace(ticket_, self); }
    void await_resume() const noexcept {}

   private:
    Turnstile& turnstile_;
    std::uint64_t ticket_;
  };
  ~Turnstile() { BYRE_ASSERT(waiting_.empty()); }

  // The next ticket, where the order of the calls is the order wanted.
  std::uint64_t take() { return next_++; }
  Awaiter wait_for(std::uint64_t ticket) { return Awaiter(*this, ticket); }
  // Lets the next ticket through.
  void pass();

 private:
  std::uint64_t next_ = 0;
  std::uint64_t now_ = 0;
  std::map<std::uint64_t, std::coroutine_handle<>> waiting_;
};

// Runs tasks side by side, waits for all, keeps the first error. Must be joined before it is destroyed.
class TaskGroup {
 public:
  ~TaskGroup() { BYRE_ASSERT(running_ == 0); }
  // Starts at once. The task must not outlive what it refers to; join() waits for it.
  void start(Task<Result<void>> task);
  // Waits until at most `limit` tasks are running.
  Task<void> wait_below(std::size_t limit);
  Task<Result<void>> join();
  bool failed() const { return !first_error_.has_value(); }
  std::size_t running() const { return running_; }

 private:
  static Task<void> run(TaskGroup& group, Task<Result<void>> task);
  std::size_t running_ = 0;
  Result<void> first_error_;
  WaitQueue waiters_;
};

}  // namespace byre
