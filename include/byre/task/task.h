// Task<T>: a coroutine that starts when awaited and hands its value to the one that awaits it.
//
// One thread runs a task from start to end (docs/architecture.md: one thread owns an image). A child that finishes without waiting
// returns to its parent without touching the loop, and its frame comes from a per-thread free list, so that a request
// served from caches costs no memory allocation. An exception that escapes a coroutine ends the process.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <utility>

#include "byre/base/assert.h"

namespace byre {

// Frame memory: free lists by size class, one set per thread. Sizes above the largest class go to the heap.
void* allocate_frame(std::size_t size_bytes);
void release_frame(void* frame, std::size_t size_bytes) noexcept;

namespace task_detail {

struct PromiseBase {
  std::coroutine_handle<> continuation;
  bool parent_waits = false;  // the parent has suspended: resume it at the end
  bool finished = false;

  static void* operator new(std::size_t size_bytes) { return allocate_frame(size_bytes); }
  static void operator delete(void* frame, std::size_t size_bytes) noexcept { release_frame(frame, size_bytes); }

  struct FinalAwaiter {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> self) const noexcept {
      PromiseBase& promise = self.promise();
      promise.finished = true;
      if (promise.parent_waits) promise.continuation.resume();
    }
    void await_resume() const noexcept {}
  };

  std::suspend_always initial_suspend() noexcept { return {}; }
  FinalAwaiter final_suspend() noexcept { return {}; }
  void unhandled_exception() noexcept { std::terminate(); }
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;
  template <class U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T take() { return std::move(*value); }
};

template <>
struct Promise<void> : PromiseBase {
  void return_void() noexcept {}
  void take() {}
};

}  // namespace task_detail

template <class T = void>
class [[nodiscard]] Task {
 public:
  struct promise_type : task_detail::Promise<T> {
    Task get_return_object() { return Task(std::coroutine_handle<promise_type>::from_promise(*this)); }
  };

  Task(Task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      if (frame_) frame_.destroy();
      frame_ = std::exchange(other.frame_, nullptr);
    }
    return *this;
  }
  ~Task() {
    if (frame_) frame_.destroy();
  }

  bool await_ready() const noexcept { return false; }
  // Returns bool, not a handle: symmetric transfer needs tail calls, which unoptimised builds do not make.
  bool await_suspend(std::coroutine_handle<> parent) noexcept {
    auto& promise = frame_.promise();
    promise.continuation = parent;
    frame_.resume();
    if (promise.finished) return false;
    promise.parent_waits = true;
    return true;
  }
  T await_resume() { return frame_.promise().take(); }

  // For the loop's own use: runs to the first suspension.
  void start() { frame_.resume(); }
  bool finished() const { return frame_.promise().finished; }
  T take() { return frame_.promise().take(); }

 private:
  explicit Task(std::coroutine_handle<promise_type> frame) : frame_(frame) {}
  std::coroutine_handle<promise_type> frame_;
};

}  // namespace byre
