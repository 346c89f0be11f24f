#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "byre/storage/simulated.h"
#include "byre/task/sync.h"

namespace byre {
namespace {

class Sync : public testing::Test {
 protected:
  EventLoop loop_{std::make_unique<SimulatedScheduler>(1)};
  std::string log_;
};

Task<void> wait_for(Event& event, std::string& log, char mark) {
  co_await event.wait();
  log += mark;
}

Task<void> set_later(Event& event, std::string& log) {
  co_await yield_now();
  log += '!';
  event.set();
  log += '.';
}

TEST_F(Sync, EventWakesItsWaitersInOrderAndNotInline) {
  Event event;
  loop_.spawn(wait_for(event, log_, 'a'));
  loop_.spawn(wait_for(event, log_, 'b'));
  loop_.spawn(set_later(event, log_));
  loop_.run_spawned();
  EXPECT_EQ(log_, "!.ab");
  loop_.run(wait_for(event, log_, 'c'));  // it stays set
  EXPECT_EQ(log_, "!.abc");
}

Task<void> use_permit(Semaphore& semaphore, std::string& log, char mark, int turns) {
  co_await semaphore.acquire();
  log += mark;
  for (int i = 0; i < turns; ++i) co_await yield_now();
  semaphore.release();
}

Task<void> release_and_take_again(Semaphore& semaphore, std::string& log) {
  co_await semaphore.acquire();
  log += 'x';
  co_await yield_now();
  semaphore.release();
  co_await semaphore.acquire();
  log += 'y';
  semaphore.release();
}

TEST_F(Sync, SemaphoreServesWaitersBeforeWhoComesLater) {
  Semaphore semaphore(1);
  loop_.spawn(release_and_take_again(semaphore, log_));
  loop_.spawn(use_permit(semaphore, log_, 'a', 2));
  loop_.spawn(use_permit(semaphore, log_, 'b', 1));
  loop_.run_spawned();
  EXPECT_EQ(log_, "xaby");
}

TEST_F(Sync, SemaphoreLetsAsManyInAsItHasPermits) {
  Semaphore semaphore(2);
  loop_.spawn(use_permit(semaphore, log_, 'a', 3));
  loop_.spawn(use_permit(semaphore, log_, 'b', 1));
  loop_.spawn(use_permit(semaphore, log_, 'c', 1));
  EXPECT_EQ(log_, "ab");
  loop_.run_spawned();
  EXPECT_EQ(log_, "abc");
}

Task<void> go_through(Turnstile& turnstile, std::uint64_t ticket, std::string& log, int turns) {
  for (int i = 0; i < turns; ++i) co_await yield_now();
  co_await turnstile.wait_for(ticket);
  log += static_cast<char>('a' + ticket);
  turnstile.pass();
}

TEST_F(Sync, TurnstileKeepsTheOrderOfTicketsWhoeverComesFirst) {
  Turnstile turnstile;
  for (std::uint64_t expected = 0; expected < 4; ++expected) EXPECT_EQ(turnstile.take(), expected);
  loop_.spawn(go_through(turnstile, 3, log_, 0));
  loop_.spawn(go_through(turnstile, 1, log_, 1));
  loop_.spawn(go_through(turnstile, 0, log_, 5));
  loop_.spawn(go_through(turnstile, 2, log_, 9));
  loop_.run_spawned();
  EXPECT_EQ(log_, "abcd");
}

Task<void> pass_shared(Gate& gate, std::string& log, char mark, int turns) {
  auto pass = co_await gate.enter();
  log += mark;
  for (int i = 0; i < turns; ++i) co_await yield_now();
  log += static_cast<char>(mark - 'a' + 'A');
}

Task<void> pass_exclusive(Gate& gate, std::string& log, char mark, int turns) {
  auto pass = co_await gate.enter_exclusive();
  log += mark;
  for (int i = 0; i < turns; ++i) co_await yield_now();
  log += static_cast<char>(mark - 'a' + 'A');
}

TEST_F(Sync, ExclusivePassWaitsForSharedOnesAndHoldsNewOnesBack) {
  Gate gate;
  loop_.spawn(pass_shared(gate, log_, 'a', 3));
  loop_.spawn(pass_shared(gate, log_, 'b', 1));
  loop_.spawn(pass_exclusive(gate, log_, 'x', 2));
  loop_.spawn(pass_exclusive(gate, log_, 'y', 2));
  loop_.spawn(pass_shared(gate, log_, 'c', 1));
  EXPECT_EQ(log_, "ab");
  loop_.run_spawned();
  EXPECT_EQ(log_, "abBAxXyYcC");
}

Task<void> hold_range(RangeLock& lock, std::uint64_t begin, std::uint64_t end, std::string& log, char mark, int turns) {
  auto guard = co_await lock.lock(begin, end);
  log += mark;
  for (int i = 0; i < turns; ++i) co_await yield_now();
  log += static_cast<char>(mark - 'a' + 'A');
}

TEST_F(Sync, OverlappingRangesAreServedInTheOrderOfTheirCalls) {
  RangeLock lock;
  loop_.spawn(hold_range(lock, 0, 10, log_, 'a', 4));
  loop_.spawn(hold_range(lock, 5, 20, log_, 'b', 1));   // waits for a
  loop_.spawn(hold_range(lock, 15, 30, log_, 'c', 1));  // waits for b, though nobody holds the range yet
  loop_.spawn(hold_range(lock, 30, 40, log_, 'd', 1));  // touches c, shares nothing
  EXPECT_EQ(log_, "ad");
  loop_.run_spawned();
  EXPECT_EQ(log_, "adDAbBcC");
}

Task<void> hold_two(RangeLock& lock, std::string& log) {
  auto first = co_await lock.lock(0, 10);
  auto moved = std::move(first);
  co_await yield_now();
  moved.release();
  log += 'r';
  auto second = co_await lock.lock(0, 10);
  log += 's';
}

TEST_F(Sync, ReleasedRangeCanBeLockedAgain) {
  RangeLock lock;
  loop_.run(hold_two(lock, log_));
  EXPECT_EQ(log_, "rs");
}

Task<Result<void>> fail_after(int turns, std::string message) {
  for (int i = 0; i < turns; ++i) co_await yield_now();
  if (message.empty()) co_return Result<void>();
  co_return std::unexpected(Error(ErrorCode::io, message));
}

Task<Result<void>> run_group(std::string& log) {
  TaskGroup group;
  group.start(fail_after(3, "late"));
  group.start(fail_after(1, "early"));
  group.start(fail_after(5, ""));
  co_await group.wait_below(1);
  log += group.failed() ? 'f' : '-';
  co_return co_await group.join();
}

TEST_F(Sync, TaskGroupWaitsForAllAndKeepsTheFirstError) {
  const auto result = loop_.run(run_group(log_));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "early");
  EXPECT_EQ(log_, "f");
}

Task<void> wait_for_ever(Event& event) { co_await event.wait(); }

TEST(SyncDeathTest, WaitingForNothingIsReportedNotSleptThrough) {
  EXPECT_DEATH(
      {
        EventLoop loop(std::make_unique<SimulatedScheduler>(1));
        Event event;
        loop.run(wait_for_ever(event));
      },
      "can_complete");
}

}  // namespace
}  // namespace byre
