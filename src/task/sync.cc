// Every wait is a loop around a condition: a woken waiter looks again, since another may have come first.

#include "byre/task/sync.h"

#include <algorithm>

namespace byre {

void WaitQueue::wake_one() {
  if (waiters_.empty()) return;
  EventLoop::current().schedule(waiters_.front());
  waiters_.pop_front();
}

void WaitQueue::wake_all() {
  while (!waiters_.empty()) wake_one();
}

Task<void> Event::wait() {
  while (!set_) co_await waiters_.wait();
}

void Event::set() {
  set_ = true;
  waiters_.wake_all();
}

Task<void> Semaphore::acquire() {
  while (count_ == 0) co_await waiters_.wait();
  --count_;
}

void Semaphore::release() {
  ++count_;
  waiters_.wake_one();
}

Task<Gate::Pass> Gate::enter() {
  while (closed_ || exclusive_waiting_ > 0) co_await waiters_.wait();
  ++inside_;
  co_return Pass(this, false);
}

Task<Gate::Pass> Gate::enter_exclusive() {
  ++exclusive_waiting_;
  while (closed_ || inside_ > 0) co_await waiters_.wait();
  --exclusive_waiting_;
  closed_ = true;
  co_return Pass(this, true);
}

void Gate::leave(bool exclusive) {
  if (exclusive) {
    closed_ = false;
  } else {
    --inside_;
  }
  if (!closed_ && inside_ == 0) waiters_.wake_all();
}

bool RangeLock::blocked(const Held& wanted) const {
  for (const Held& held : held_) {
    if (held.ticket == wanted.ticket) return false;
    if (held.begin < wanted.end && wanted.begin < held.end) return true;
  }
  return false;
}

Task<RangeLock::Guard> RangeLock::lock(std::uint64_t begin, std::uint64_t end) {
  BYRE_ASSERT(begin < end);
  WaitQueue queue;
  held_.push_back({next_ticket_++, begin, end, false, &queue});
  const auto mine = std::prev(held_.end());
  while (blocked(*mine)) co_await queue.wait();
  mine->granted = true;
  mine->waiter = nullptr;
  co_return Guard(this, mine->ticket);
}

void RangeLock::release(std::uint64_t ticket) {
  const auto mine = std::ranges::find(held_, ticket, &Held::ticket);
  BYRE_ASSERT(mine != held_.end() && mine->granted);
  const Held gone = *mine;
  held_.erase(mine);
  for (Held& held : held_) {
    const bool overlaps = held.begin < gone.end && gone.begin < held.end;
    if (overlaps && held.waiter && !blocked(held)) held.waiter->wake_one();
  }
}

void RangeLock::Guard::release() {
  if (lock_) std::exchange(lock_, nullptr)->release(entry_);
}

Task<void> TaskGroup::run(TaskGroup& group, Task<Result<void>> task) {
  auto result = co_await task;
  if (!result && group.first_error_) group.first_error_ = std::move(result);
  --group.running_;
  group.waiters_.wake_all();
}

void TaskGroup::start(Task<Result<void>> task) {
  ++running_;
  EventLoop::current().spawn(run(*this, std::move(task)));
}

Task<void> TaskGroup::wait_below(std::size_t limit) {
  while (running_ > limit) co_await waiters_.wait();
}

Task<Result<void>> TaskGroup::join() {
  co_await wait_below(0);
  co_return std::exchange(first_error_, {});
}

}  // namespace byre
