// A wait is a loop around a condition: a woken waiter looks again, since another may have come first. The semaphore
// hands its permit over instead, so that its waiters are served in order.

#include "byre/task/sync.h"

#include <algorithm>

namespace byre {

void WaitQueue::append(Awaiter& waiter) {
  (last_ ? last_->next_ : first_) = &waiter;
  last_ = &waiter;
}

void WaitQueue::wake_one() {
  if (!first_) return;
  EventLoop::current().schedule(first_->waiter_);
  first_ = first_->next_;
  if (!first_) last_ = nullptr;
}

void WaitQueue::wake_all() {
  while (first_) wake_one();
}

Task<void> Event::wait() {
  while (!set_) co_await waiters_.wait();
}

void Event::set() {
  set_ = true;
  waiters_.wake_all();
}

Task<void> Semaphore::acquire() {
  if (count_ == 0) {
    co_await waiters_.wait();  // woken with the permit
  } else {
    --count_;
  }
}

void Semaphore::release() {
  if (waiters_.empty()) {
    ++count_;
  } else {
    waiters_.wake_one();
  }
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
  if (spare_.empty()) spare_.emplace_back();
  spare_.front() = {next_ticket_++, begin, end, false, &queue};
  held_.splice(held_.end(), spare_, spare_.begin());
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
  spare_.splice(spare_.begin(), held_, mine);
  for (Held& held : held_) {
    const bool overlaps = held.begin < gone.end && gone.begin < held.end;
    if (overlaps && held.waiter && !blocked(held)) held.waiter->wake_one();
  }
}

void RangeLock::Guard::release() {
  if (lock_) std::exchange(lock_, nullptr)->release(entry_);
}

void Turnstile::pass() {
  const auto next = waiting_.find(++now_);
  if (next == waiting_.end()) return;
  EventLoop::current().schedule(next->second);
  waiting_.erase(next);
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
  Result<void> first = std::move(first_error_);
  first_error_ = Result<void>();
  co_return first;
}

}  // namespace byre
