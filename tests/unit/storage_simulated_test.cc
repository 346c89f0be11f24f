// The simulated disk and scheduler: what a crash may and may not leave, faults, determinism.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <string>

#include "byre/storage/simulated.h"
#include "byre/task/sync.h"
#include "support/sanitized.h"

namespace byre {
namespace {

constexpr std::size_t sector = 512;

class Simulated : public testing::Test {
 protected:
  explicit Simulated(std::uint64_t seed = 1) {
    auto scheduler = std::make_unique<SimulatedScheduler>(seed);
    scheduler_ = scheduler.get();
    loop_ = std::make_unique<EventLoop>(std::move(scheduler));
  }
  void make_disk(std::size_t sectors, char fill = '.', SimulatedDiskOptions options = {}) {
    disk_ = std::make_unique<SimulatedDisk>(*scheduler_, options, bytes(std::string(sectors * sector, fill)));
  }
  static std::vector<std::byte> bytes(const std::string& text) {
    const auto span = std::as_bytes(std::span(text));
    return {span.begin(), span.end()};
  }
  static std::string text(const std::vector<std::byte>& image) {
    std::string result;
    for (std::byte byte : image) result += byte == std::byte{0} ? '0' : static_cast<char>(byte);
    return result;
  }
  // One character per sector: what it is filled with, '?' if mixed.
  static std::string sectors(const std::vector<std::byte>& image) {
    std::string result;
    const std::string all = text(image);
    for (std::size_t at = 0; at < all.size(); at += sector) {
      const std::string one = all.substr(at, sector);
      result += one.find_first_not_of(one[0]) == std::string::npos ? one[0] : '?';
    }
    return result;
  }
  void write(std::uint64_t offset, const std::string& content) {
    const auto data = bytes(content);
    const auto result = loop_->run(write_bytes(*disk_, offset, data));
    ASSERT_TRUE(result) << result.error().message();
  }
  void write_sectors(std::uint64_t first, const std::string& fills) {
    std::string content;
    for (char fill : fills) content += std::string(sector, fill);
    write(first * sector, content);
  }
  // Every state that the disk enumerates.
  std::set<std::string> crash_states(bool whole_sectors = true) {
    std::set<std::string> states;
    std::vector<std::byte> image;
    const std::uint64_t count = disk_->crash_state_count(100000);
    EXPECT_LT(count, 100000u);
    for (std::uint64_t index = 0; index < count; ++index) {
      disk_->crash_image(index, image);
      states.insert(whole_sectors ? sectors(image) : text(image));
    }
    return states;
  }
  std::set<std::string> random_states(CrashMode mode, int count = 2000) {
    std::set<std::string> states;
    SimulatedRandom random(3);
    std::vector<std::byte> image;
    for (int i = 0; i < count; ++i) {
      disk_->crash_image(random, mode, image);
      states.insert(sectors(image));
    }
    return states;
  }
  using States = std::set<std::string>;

  SimulatedScheduler* scheduler_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<SimulatedDisk> disk_;
};

TEST_F(Simulated, WhatWasFlushedSurvivesEveryCrash) {
  make_disk(3);
  write_sectors(0, "ab");
  ASSERT_TRUE(loop_->run(disk_->flush()));
  EXPECT_EQ(disk_->crash_state_count(100), 1u);
  EXPECT_EQ(crash_states(), States{"ab."});
  EXPECT_EQ(disk_->volatile_sector_count(), 0u);
}

TEST_F(Simulated, AnUnflushedWriteMayVanishOrTearAtSectors) {
  make_disk(3);
  write_sectors(0, "ab");
  EXPECT_EQ(crash_states(), (States{"...", "a..", ".b.", "ab."}));
  EXPECT_EQ(random_states(CrashMode::random_subset), (States{"...", "a..", ".b.", "ab."}));
  EXPECT_EQ(random_states(CrashMode::nothing), States{"..."});
  EXPECT_EQ(random_states(CrashMode::everything), States{"ab."});
}

TEST_F(Simulated, ASectorHoldsAnyVersionSinceTheLastFlush) {
  make_disk(1);
  write_sectors(0, "a");
  write_sectors(0, "b");
  ASSERT_TRUE(loop_->run(disk_->flush()));
  write_sectors(0, "c");
  write_sectors(0, "d");
  EXPECT_EQ(crash_states(), (States{"b", "c", "d"}));
}

TEST_F(Simulated, WritesReachTheDiskInAnyOrder) {
  make_disk(2);
  write_sectors(0, "a");
  write_sectors(1, "b");
  EXPECT_TRUE(crash_states().contains(".b"));
  EXPECT_EQ(random_states(CrashMode::prefix_in_order), (States{"..", "a.", "ab"}));
}

TEST_F(Simulated, APartOfASectorBuildsOnTheVersionBefore) {
  make_disk(1);
  write(0, "aaaa");
  write(4, "bbbb");
  const std::string rest(sector - 8, '.');
  EXPECT_EQ(crash_states(false), (States{"........" + rest, "aaaa...." + rest, "aaaabbbb" + rest}));
}

TEST_F(Simulated, SectorsOf4096BytesAreNotTornAt512) {
  SimulatedDiskOptions options;
  options.sector_bytes = 4096;
  make_disk(16, '.', options);
  write_sectors(6, "abcd");
  EXPECT_EQ(crash_states(), (States{"................", "......ab........", "........cd......", "......abcd......"}));
}

Task<Result<void>> write_one(SimulatedDisk& disk, std::uint64_t offset, ConstBytes bytes) {
  co_return co_await write_bytes(disk, offset, bytes);
}
Task<Result<void>> flush_one(SimulatedDisk& disk) { co_return co_await disk.flush(); }
Task<Result<void>> resize_one(SimulatedDisk& disk, std::uint64_t size) { co_return co_await disk.resize(size); }

Task<Result<void>> write_then_race_flush(SimulatedDisk& disk, ConstBytes first, ConstBytes second) {
  BYRE_CO_CHECK(co_await write_bytes(disk, 0, first));
  TaskGroup group;
  group.start(write_one(disk, sector, second));
  group.start(flush_one(disk));
  co_return co_await group.join();
}

TEST_F(Simulated, AFlushCoversOnlyWhatCompletedBeforeItWasSubmitted) {
  make_disk(2);
  const auto a = bytes(std::string(sector, 'a'));
  const auto b = bytes(std::string(sector, 'b'));
  scheduler_->set_chooser([](std::size_t) { return std::size_t{0}; });  // the write completes before the flush
  ASSERT_TRUE(loop_->run(write_then_race_flush(*disk_, a, b)));
  EXPECT_EQ(sectors(disk_->running_image()), "ab");
  EXPECT_EQ(crash_states(), (States{"a.", "ab"}));
  ASSERT_TRUE(loop_->run(disk_->flush()));
  EXPECT_EQ(crash_states(), States{"ab"});
}

Task<Result<void>> two_writes(SimulatedDisk& disk, ConstBytes first, std::uint64_t offset, ConstBytes second) {
  TaskGroup group;
  group.start(write_one(disk, 0, first));
  group.start(write_one(disk, offset, second));
  co_return co_await group.join();
}

TEST_F(Simulated, WritesInFlightMayHaveReachedTheDisk) {
  make_disk(3);
  const auto a = bytes(std::string(2 * sector, 'a'));
  const auto b = bytes(std::string(2 * sector, 'b'));
  States states;
  scheduler_->set_before_pick([&] {
    if (scheduler_->picks() == 0) states = crash_states();
  });
  ASSERT_TRUE(loop_->run(two_writes(*disk_, a, sector, b)));
  EXPECT_EQ(states, (States{"...", "a..", ".a.", "aa.", ".b.", "ab.", "..b", "a.b", ".ab", "aab", ".bb", "abb"}));
}

TEST_F(Simulated, AWriteInFlightNextToACompletedOneInTheSameSectorMayBeAlone) {
  make_disk(1);
  const auto a = bytes("aaaa");
  const auto b = bytes("bbbb");
  States states;
  scheduler_->set_chooser([](std::size_t) { return std::size_t{0}; });
  scheduler_->set_before_pick([&] {
    if (scheduler_->picks() == 1) states = crash_states(false);
  });
  ASSERT_TRUE(loop_->run(two_writes(*disk_, a, 4, b)));
  const std::string rest(sector - 8, '.');
  EXPECT_EQ(states, (States{"........" + rest, "aaaa...." + rest, "....bbbb" + rest, "aaaabbbb" + rest}));
}

TEST_F(Simulated, AWriteBehindTheEndCarriesTheSizeWithIt) {
  make_disk(1);
  write_sectors(1, "a");
  write_sectors(2, "b");
  EXPECT_EQ(crash_states(), (States{".", ".a", ".0b", ".ab"}));
}

TEST_F(Simulated, AShrinkThatWasNotFlushedMayNotHaveHappened) {
  make_disk(3);
  ASSERT_TRUE(loop_->run(disk_->resize(sector)));
  EXPECT_EQ(crash_states(), (States{"...", "."}));
  ASSERT_TRUE(loop_->run(disk_->resize(2 * sector)));
  EXPECT_EQ(crash_states(), (States{"...", ".", ".0"}));
  write_sectors(1, "a");
  // Old bytes never come back behind a shrink that is kept.
  EXPECT_EQ(crash_states(), (States{"...", ".", ".0", ".a"}));
  ASSERT_TRUE(loop_->run(disk_->flush()));
  EXPECT_EQ(crash_states(), States{".a"});
}

TEST_F(Simulated, AResizeInFlightMayHaveHappened) {
  make_disk(2);
  for (const std::uint64_t size : {sector, 3 * sector}) {
    States states;
    scheduler_->set_before_pick([&] { states = crash_states(); });
    ASSERT_TRUE(loop_->run(resize_one(*disk_, size)));
    scheduler_->set_before_pick(nullptr);
    EXPECT_EQ(states, size == sector ? (States{"..", "."}) : (States{".", ".00"}));
    ASSERT_TRUE(loop_->run(disk_->flush()));
  }
}

TEST_F(Simulated, AShrinkIntoASectorKeepsEitherVersionOfItsHead) {
  make_disk(1, 'o');
  write_sectors(0, "n");
  ASSERT_TRUE(loop_->run(disk_->resize(2)));
  ASSERT_TRUE(loop_->run(disk_->resize(4)));
  const std::string o(sector, 'o');
  const std::string n(sector, 'n');
  EXPECT_EQ(crash_states(false), (States{o, n, "oo", "nn", "oo00", "nn00"}));
  ASSERT_TRUE(loop_->run(disk_->flush()));
  EXPECT_EQ(crash_states(false), States{"nn00"});
}

TEST_F(Simulated, APunchIsVolatileToo) {
  make_disk(2);
  ASSERT_TRUE(loop_->run(disk_->punch(0, 2 * sector)));
  EXPECT_EQ(crash_states(), (States{"..", "0.", ".0", "00"}));
}

TEST_F(Simulated, GrowingByZeroIsVolatile) {
  make_disk(1);
  ASSERT_TRUE(loop_->run(disk_->zero(sector, sector, false)));
  EXPECT_EQ(crash_states(), (States{".", ".0"}));
  ASSERT_TRUE(loop_->run(disk_->flush()));
  EXPECT_EQ(crash_states(), States{".0"});
}

TEST_F(Simulated, AFailedFlushMakesNothingDurableAndLosesNothing) {
  make_disk(1);
  write_sectors(0, "a");
  FaultPlan plan;
  plan.nth = 1;
  plan.only = StorageOperation::flush;
  plan.errno_value = ENOSPC;
  disk_->set_fault(plan);
  const auto failed = loop_->run(disk_->flush());
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), ErrorCode::no_space);
  EXPECT_EQ(crash_states(), (States{".", "a"}));
  ASSERT_TRUE(loop_->run(disk_->flush()));
  EXPECT_EQ(crash_states(), States{"a"});
}

TEST_F(Simulated, AFlushThatFailedWithEioKeepsFailing) {
  make_disk(1);
  FaultPlan plan;
  plan.nth = 1;
  plan.only = StorageOperation::flush;
  disk_->set_fault(plan);
  EXPECT_FALSE(loop_->run(disk_->flush()));
  disk_->set_fault({});
  write_sectors(0, "a");
  const auto again = loop_->run(disk_->flush());
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().errno_value(), EIO);
  EXPECT_EQ(crash_states(), (States{".", "a"}));
}

TEST_F(Simulated, TheNthOperationFailsOnceOrForEver) {
  make_disk(1);
  const auto a = bytes(std::string(sector, 'a'));
  for (const bool for_ever : {false, true}) {
    FaultPlan plan;
    plan.nth = 2;
    plan.for_ever = for_ever;
    plan.errno_value = ENOSPC;
    disk_->set_fault(plan);
    std::string outcome;
    for (int i = 0; i < 4; ++i) outcome += loop_->run(write_bytes(*disk_, 0, a)) ? '+' : '-';
    EXPECT_EQ(outcome, for_ever ? "+---" : "+-++");
    EXPECT_EQ(disk_->fault_count(), for_ever ? 3u : 1u);
  }
}

TEST_F(Simulated, AFailedWriteMayHaveReachedAnyOfItsSectors) {
  States running;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    EventLoop loop(std::make_unique<SimulatedScheduler>(seed));
    auto& scheduler = static_cast<SimulatedScheduler&>(loop.poller());
    SimulatedDisk disk(scheduler, {}, bytes(std::string(2 * sector, '.')));
    FaultPlan plan;
    plan.nth = 1;
    disk.set_fault(plan);
    const auto a = bytes(std::string(2 * sector, 'a'));
    EXPECT_FALSE(loop.run(write_bytes(disk, 0, a)));
    running.insert(sectors(disk.running_image()));
  }
  EXPECT_EQ(running, (States{"..", "a.", ".a", "aa"}));
}

TEST_F(Simulated, AShortTransferIsContinued) {
  make_disk(2);
  FaultPlan plan;
  plan.nth = 1;
  plan.for_ever = true;
  plan.short_transfer = true;
  disk_->set_fault(plan);
  write_sectors(0, "ab");
  std::vector<std::byte> target(2 * sector);
  const auto count = loop_->run(disk_->read(0, target));
  ASSERT_TRUE(count);
  EXPECT_EQ(*count, 2 * sector);
  EXPECT_EQ(sectors(target), "ab");
  EXPECT_EQ(scheduler_->picks(), 4u);
}

TEST_F(Simulated, TraceNumbersOperationsAndTellsBothEnds) {
  make_disk(2);
  std::string log;
  disk_->set_trace([&](const StorageEvent& event) {
    log += std::string(storage_operation_name(event.operation)) + (event.completed ? " done " : " ") +
           std::to_string(event.number) + "@" + std::to_string(event.offset_bytes) + "+" +
           std::to_string(event.length_bytes) + ";";
  });
  write_sectors(1, "a");
  ASSERT_TRUE(loop_->run(disk_->flush()));
  EXPECT_EQ(log, "write 1@512+512;write done 1@512+512;flush 2@0+0;flush done 2@0+0;");
  EXPECT_EQ(disk_->operation_count(), 2u);
}

TEST_F(Simulated, GrowthBehindTheLimitIsNoSpace) {
  SimulatedDiskOptions options;
  options.limit_bytes = 1024;
  make_disk(1, '.', options);
  const auto a = bytes("a");
  const auto result = loop_->run(write_bytes(*disk_, 1024, a));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::no_space);
}

Task<Result<void>> append_name(SimulatedDisk& disk, std::string& log, char name) {
  const std::vector<std::byte> byte{static_cast<std::byte>(name)};
  BYRE_CO_CHECK(co_await write_bytes(disk, 0, byte));
  log += name;
  BYRE_CO_CHECK(co_await disk.flush());
  std::function<void()> nothing = [] {};
  auto offloaded = offload(std::move(nothing));
  co_await offloaded;
  log += name;
  co_return Result<void>();
}

Task<Result<void>> run_three(SimulatedDisk& disk, std::string& log) {
  TaskGroup group;
  group.start(append_name(disk, log, 'a'));
  group.start(append_name(disk, log, 'b'));
  group.start(append_name(disk, log, 'c'));
  co_return co_await group.join();
}

std::string order_of(std::uint64_t seed) {
  EventLoop loop(std::make_unique<SimulatedScheduler>(seed));
  SimulatedDisk disk(static_cast<SimulatedScheduler&>(loop.poller()), {}, std::vector<std::byte>(sector));
  std::string log;
  EXPECT_TRUE(loop.run(run_three(disk, log)));
  return log;
}

TEST(SimulatedSchedulerTest, ASeedDecidesTheOrder) {
  std::set<std::string> orders;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    orders.insert(order_of(seed));
    EXPECT_EQ(order_of(seed), order_of(seed));
  }
  EXPECT_GT(orders.size(), 10u);
}

Task<Result<void>> write_name(SimulatedDisk& disk, std::string& log, char name) {
  const std::vector<std::byte> byte{static_cast<std::byte>(name)};
  BYRE_CO_CHECK(co_await write_bytes(disk, 0, byte));
  log += name;
  co_return Result<void>();
}

Task<Result<void>> write_three_names(SimulatedDisk& disk, std::string& log) {
  TaskGroup group;
  group.start(write_name(disk, log, 'a'));
  group.start(write_name(disk, log, 'b'));
  group.start(write_name(disk, log, 'c'));
  co_return co_await group.join();
}

// Depth-first over the choices: each run replays a list of choices and extends it with zeros.
TEST(SimulatedSchedulerTest, AChooserCanEnumerateAllOrders) {
  std::set<std::string> orders;
  std::vector<std::pair<std::size_t, std::size_t>> choices;  // taken, of how many
  do {
    std::size_t depth = 0;
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));
    auto& scheduler = static_cast<SimulatedScheduler&>(loop.poller());
    scheduler.set_chooser([&](std::size_t count) {
      if (depth == choices.size()) choices.emplace_back(0, count);
      return choices[depth++].first;
    });
    SimulatedDisk disk(scheduler, {}, std::vector<std::byte>(sector));
    std::string log;
    ASSERT_TRUE(loop.run(write_three_names(disk, log)));
    orders.insert(log);
    while (!choices.empty() && choices.back().first + 1 == choices.back().second) choices.pop_back();
    if (!choices.empty()) ++choices.back().first;
  } while (!choices.empty());
  EXPECT_EQ(orders, (std::set<std::string>{"abc", "acb", "bac", "bca", "cab", "cba"}));
}

// Random operations against a simple account of what each sector may be: every random and enumerated image agrees.
TEST_F(Simulated, CrashImagesNeverShowAStateThatNeverWas) {
  SimulatedRandom random(99);
  for (unsigned round = 0; round < test::examples(30); ++round) {
    make_disk(8);
    std::vector<std::set<char>> allowed(8, std::set<char>{'.'});
    std::vector<char> running(8, '.');
    char next = 'A';
    std::vector<std::byte> image;
    for (int step = 0; step < 25; ++step) {
      const std::size_t first = random.below(8);
      const std::size_t count = 1 + random.below(8 - first);
      const std::uint64_t kind = random.below(8);
      if (kind == 0) {
        ASSERT_TRUE(loop_->run(disk_->flush()));
        for (std::size_t i = 0; i < 8; ++i) allowed[i] = {running[i]};
      } else {
        const char fill = kind == 1 ? '0' : next++;
        if (kind == 1) {
          ASSERT_TRUE(loop_->run(disk_->zero(first * sector, count * sector, false)));
        } else {
          write_sectors(first, std::string(count, fill));
        }
        for (std::size_t i = first; i < first + count; ++i) {
          allowed[i].insert(fill);
          running[i] = fill;
        }
      }
      ASSERT_EQ(sectors(disk_->running_image()), std::string(running.begin(), running.end()));
      for (const CrashMode mode : {CrashMode::random_subset, CrashMode::prefix_in_order, CrashMode::everything}) {
        for (int i = 0; i < 20; ++i) {
          disk_->crash_image(random, mode, image);
          const std::string seen = sectors(image);
          ASSERT_EQ(seen.size(), 8u);
          for (std::size_t at = 0; at < 8; ++at) ASSERT_TRUE(allowed[at].contains(seen[at])) << seen << " " << at;
          if (mode == CrashMode::everything) {
            ASSERT_EQ(seen, sectors(disk_->running_image()));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace byre
