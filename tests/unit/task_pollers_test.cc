#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "byre/task/pollers.h"
#include "byre/task/sync.h"
#include "byre/task/worker_pool.h"

namespace byre {
namespace {

class Pollers : public testing::TestWithParam<IoMode> {
 protected:
  void SetUp() override {
    auto loop = make_event_loop(GetParam());
    if (!loop && GetParam() == IoMode::uring) GTEST_SKIP() << loop.error().message();
    ASSERT_TRUE(loop) << loop.error().message();
    loop_ = std::move(*loop);
  }
  std::unique_ptr<EventLoop> loop_;
};

INSTANTIATE_TEST_SUITE_P(, Pollers, testing::Values(IoMode::uring, IoMode::threads),
                         [](const auto& mode) { return mode.param == IoMode::uring ? "uring" : "threads"; });

Task<void> add_in_pool(std::atomic<int>& sum, std::thread::id loop_thread, int times) {
  for (int i = 0; i < times; ++i) {
    bool elsewhere = false;
    std::function<void()> work = [&] {
      elsewhere = std::this_thread::get_id() != loop_thread;
      sum.fetch_add(1);
    };
    auto offloaded = offload(std::move(work));
    co_await offloaded;
    EXPECT_TRUE(elsewhere);
    EXPECT_EQ(std::this_thread::get_id(), loop_thread);
  }
}

TEST_P(Pollers, OffloadRunsInAWorkerAndComesBackToTheLoop) {
  std::atomic<int> sum = 0;
  for (int i = 0; i < 20; ++i) loop_->spawn(add_in_pool(sum, std::this_thread::get_id(), 50));
  loop_->run_spawned();
  EXPECT_EQ(sum.load(), 1000);
}

TEST_P(Pollers, WaitSaysThatNothingIsUnderWay) {
  EXPECT_FALSE(loop_->poller().wait(true));
  loop_->poller().wake();
  EXPECT_TRUE(loop_->poller().wait(true));
  EXPECT_FALSE(loop_->poller().wait(true));
}

struct BlockingAwaiter {
  std::function<void()> work;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> self) {
    EventLoop::current().poller().offload_blocking(std::move(work), self);
  }
  void await_resume() const noexcept {}
};

Task<void> hold_until(std::atomic<bool>& go) {
  BlockingAwaiter awaiter{[&go] { go.wait(false); }};
  co_await awaiter;
}

Task<void> wait_for_event(Event& event) { co_await event.wait(); }

TEST_P(Pollers, PostFromAnotherThreadWakesASleepingLoop) {
  Event event;
  std::atomic<bool> go = false;
  loop_->spawn(hold_until(go));  // keeps something under way, so that the loop sleeps
  std::thread other([&] { loop_->post([&] { event.set(); }); });
  loop_->run(wait_for_event(event));
  other.join();
  go = true;
  go.notify_all();
  loop_->run_spawned();
}

TEST_P(Pollers, ManyPostsFromManyThreadsAllArrive) {
  std::atomic<bool> go = false;
  int arrived = 0;
  loop_->spawn(hold_until(go));
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 500; ++n) {
        loop_->post([&] {
          if (++arrived < 2000) return;
          go = true;
          go.notify_all();
        });
      }
    });
  }
  loop_->run_spawned();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(arrived, 2000);
}

TEST_P(Pollers, BlockingWorkDoesNotHoldUpComputation) {
  std::atomic<bool> go = false;
  for (int i = 0; i < 8; ++i) loop_->spawn(hold_until(go));
  std::atomic<int> sum = 0;
  loop_->run(add_in_pool(sum, std::this_thread::get_id(), 3));
  EXPECT_EQ(sum.load(), 3);
  go = true;
  go.notify_all();
  loop_->run_spawned();
}

class EnvironmentMode : public testing::Test {
 protected:
  void TearDown() override { ::unsetenv("BYRE_IO"); }
};

TEST_F(EnvironmentMode, ByreIoChoosesThreads) {
  ::setenv("BYRE_IO", "threads", 1);
  auto loop = make_event_loop();
  ASSERT_TRUE(loop);
  EXPECT_EQ(io_mode_name(**loop), "threads");
}

TEST_F(EnvironmentMode, AnUnknownValueIsAnErrorThatNamesIt) {
  ::setenv("BYRE_IO", "aio", 1);
  auto loop = make_event_loop();
  ASSERT_FALSE(loop);
  EXPECT_EQ(loop.error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(loop.error().message(), "BYRE_IO is 'aio'; it may be uring, threads or auto");
}

TEST_F(EnvironmentMode, AnExplicitModeIsNotOverridden) {
  ::setenv("BYRE_IO", "uring", 1);
  auto loop = make_event_loop(IoMode::threads);
  ASSERT_TRUE(loop);
  EXPECT_EQ(io_mode_name(**loop), "threads");
}

struct CountingJob : WorkerPool::Job {
  std::atomic<int>* count = nullptr;
};

TEST(WorkerPool, RunsWhatWasStartedBeforeItEnds) {
  std::atomic<int> count = 0;
  std::vector<CountingJob> jobs(200);
  {
    WorkerPool pool(3);
    for (auto& job : jobs) {
      job.count = &count;
      job.run = [](WorkerPool::Job& base) { static_cast<CountingJob&>(base).count->fetch_add(1); };
      pool.start(job);
    }
  }
  EXPECT_EQ(count.load(), 200);
}

}  // namespace
}  // namespace byre
