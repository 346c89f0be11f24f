// Making once more what was left unfinished: the result is that of a new file, whatever was there, and what is there
// already is not written.

#include "storage/resumed_storage.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>

#include "byre/ops/create.h"
#include "byre/storage/memory.h"
#include "byre/storage/simulated.h"
#include "byre/task/pollers.h"
#include "data/new_image.h"
#include "ops/new_image_copy.h"

namespace byre::test {
namespace {

using Content = std::vector<std::byte>;

Content noise(SimulatedRandom& random, std::size_t length_bytes) {
  Content content(length_bytes);
  for (std::byte& byte : content) byte = static_cast<std::byte>(random.next());
  return content;
}

TEST(RangeSet, IsASetOfBytes) {
  constexpr std::uint64_t size = 64;
  SimulatedRandom random(1);
  for (int program = 0; program < 300; ++program) {
    RangeSet ranges;
    std::vector<bool> bytes(size);
    for (int step = 0; step < 30; ++step) {
      const std::uint64_t begin = random.below(size);
      const std::uint64_t end = begin + random.below(size - begin + 1);
      if (random.one_in(6)) {
        ranges.cut(begin);
        std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(begin), bytes.end(), false);
      } else {
        ranges.add(begin, end);
        std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(begin), bytes.begin() + static_cast<std::ptrdiff_t>(end),
                  true);
      }
      std::size_t count = 0;
      for (std::uint64_t at = 0; at < size; ++at) {
        std::uint64_t stop = at;
        while (stop < size && bytes[stop] == bytes[at]) ++stop;
        EXPECT_EQ(ranges.at(at).inside, bytes[at]) << at;
        EXPECT_EQ(std::min(ranges.at(at).end_bytes, size), stop) << at;
        count += bytes[at] && (at == 0 || !bytes[at - 1]);
      }
      EXPECT_EQ(ranges.count(), count);
    }
  }
}

// Memory that counts what is written.
class CountedMemory final : public BorrowedStorage {
 public:
  explicit CountedMemory(Storage& memory) : BorrowedStorage(memory, "counted") {}
  Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) override {
    for (const ConstBytes part : parts) written_bytes += part.size();
    return lender().write(offset_bytes, parts);
  }
  std::uint64_t written_bytes = 0;
};

class Resumed : public testing::Test {
 protected:
  Resumed() : loop(std::move(*make_event_loop(IoMode::threads))) {}

  void step(SimulatedRandom& random, Storage& fresh, Storage& resumed, std::uint64_t limit_bytes) {
    const std::uint64_t begin = random.below(limit_bytes);
    const std::uint64_t length = random.below(std::min<std::uint64_t>(limit_bytes - begin, 20000) + 1);
    const std::uint64_t kind = random.below(10);
    const Content content = noise(random, length);
    for (Storage* const storage : {&fresh, &resumed}) {
      Task<Result<void>> task = [&] {
        if (kind == 0) return storage->zero(begin, length, random.one_in(2));
        if (kind == 1) return storage->resize(begin);
        if (kind == 2) return storage->extend(begin);
        if (kind == 3) return storage->allocate(begin, length);
        if (kind == 4) return storage->punch(begin, length);
        return write_bytes(*storage, begin, ConstBytes(content));
      }();
      ASSERT_TRUE(loop->run(std::move(task)));
    }
    ASSERT_EQ(fresh.size_bytes(), resumed.size_bytes());
  }

  Content read(Storage& storage, std::uint64_t offset_bytes, std::size_t length_bytes) {
    Content content(length_bytes);
    const Bytes target(content);
    const auto count = loop->run(storage.read(offset_bytes, target));
    EXPECT_TRUE(count);
    content.resize(count.value_or(0));
    return content;
  }

  std::unique_ptr<EventLoop> loop;
};

TEST_F(Resumed, EndsAsANewStorageWhateverWasThere) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    SimulatedRandom random(seed);
    const std::uint64_t limit = 1 + random.below(200000);
    MemoryStorage fresh;
    MemoryStorage left{ConstBytes(noise(random, random.below(200000)))};
    ResumedStorage resumed(left, "resumed");
    ASSERT_TRUE(loop->run(resumed.begin()));
    for (std::uint64_t steps = random.below(30); steps > 0; --steps) {
      ASSERT_NO_FATAL_FAILURE(step(random, fresh, resumed, limit));
      const std::uint64_t at = random.below(limit);
      ASSERT_TRUE(read(fresh, at, 30000) == read(resumed, at, 30000));
    }
    ASSERT_TRUE(loop->run(resumed.finish()));
    ASSERT_TRUE(left.content() == fresh.content());
  }
}

TEST_F(Resumed, WritesNothingThatIsThere) {
  SimulatedRandom random(5);
  const Content content = noise(random, 3 << 20);
  MemoryStorage left{ConstBytes(content)};
  ASSERT_TRUE(loop->run(write_bytes(left, 1 << 20, ConstBytes(noise(random, 10)))));
  CountedMemory counted(left);
  ResumedStorage resumed(counted, "resumed");
  ASSERT_TRUE(loop->run(resumed.begin()));
  const std::array<ConstBytes, 2> parts{ConstBytes(content).first(5000), ConstBytes(content).subspan(5000)};
  ASSERT_TRUE(loop->run(resumed.write(0, std::span<const ConstBytes>(parts))));
  ASSERT_TRUE(loop->run(resumed.finish()));
  EXPECT_TRUE(left.content() == content);
  EXPECT_EQ(counted.written_bytes, 2 * 4096);  // the first block, which no image may keep, and the one that differs
}

// A hole reads like zeros, but has no space.
TEST_F(Resumed, WritesZerosThatAreData) {
  MemoryStorage left(1 << 20);
  CountedMemory counted(left);
  ResumedStorage resumed(counted, "resumed");
  ASSERT_TRUE(loop->run(resumed.begin()));
  ASSERT_TRUE(loop->run(write_bytes(resumed, 0, ConstBytes(Content(1 << 20)))));
  EXPECT_EQ(counted.written_bytes, 1 << 20);
}

TEST_F(Resumed, IsNoImageUntilItIsMade) {
  SimulatedRandom random(6);
  MemoryStorage left{ConstBytes(noise(random, 4096))};
  ResumedStorage resumed(left, "resumed");
  ASSERT_TRUE(loop->run(resumed.begin()));
  EXPECT_TRUE(is_all_zero(ConstBytes(left.content()).first(512)));
}

// More ranges than are remembered, and late writes into gaps that were closed.
TEST_F(Resumed, ForgetsGapsWhenThereAreMany) {
  SimulatedRandom random(7);
  constexpr std::uint64_t count = 40000;
  std::size_t most_ranges = 0;
  MemoryStorage fresh;
  MemoryStorage left{ConstBytes(noise(random, count * 40 + 5000))};
  ResumedStorage resumed(left, "resumed");
  ASSERT_TRUE(loop->run(resumed.begin()));
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t at = random.one_in(100) ? random.below(count) * 40 + 20 : i * 40;
    const Content content = noise(random, 1 + random.below(20));
    for (Storage* const storage : {static_cast<Storage*>(&fresh), static_cast<Storage*>(&resumed)}) {
      ASSERT_TRUE(loop->run(write_bytes(*storage, at, ConstBytes(content))));
    }
    most_ranges = std::max(most_ranges, resumed.range_count());
  }
  EXPECT_LT(most_ranges, count / 2);
  ASSERT_TRUE(loop->run(resumed.finish()));
  EXPECT_TRUE(left.content() == fresh.content());
}

Task<Result<void>> write_in_order(Storage& fresh, Storage& resumed, const std::vector<Content>& contents,
                                  const std::vector<std::uint64_t>& order) {
  TaskGroup group;
  for (const std::uint64_t i : order) {
    const ConstBytes content(contents[i]);
    BYRE_CO_CHECK(co_await write_bytes(fresh, i * 300, content));
    co_await group.wait_below(8);
    group.start(write_bytes(resumed, i * 300, content));
  }
  co_return co_await group.join();
}

// In an order of the scheduler's, each range once: a gap may be written while it waits to be closed.
TEST(ResumedOrders, OfWritesAndGapsMakeNoDifference) {
  constexpr std::uint64_t count = 200;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    auto scheduler = std::make_unique<SimulatedScheduler>(seed);
    SimulatedDisk left(*scheduler, {}, noise(scheduler->random(), count * 300));
    SimulatedRandom random(seed);
    EventLoop loop(std::move(scheduler));
    MemoryStorage fresh;
    ResumedStorage resumed(left, "resumed", 6);
    ASSERT_TRUE(loop.run(resumed.begin()));
    std::vector<Content> contents;
    for (std::uint64_t i = 0; i < count; ++i) contents.push_back(noise(random, 100 + random.below(201)));
    std::vector<std::uint64_t> order(count);
    for (std::uint64_t i = 0; i < count; ++i) order[i] = i;
    for (std::uint64_t i = 0; i < count; ++i) std::swap(order[i], order[i + random.below(std::min(count - i, 20ul))]);
    ASSERT_TRUE(loop.run(write_in_order(fresh, resumed, contents, order)));
    ASSERT_TRUE(loop.run(resumed.finish()));
    ASSERT_TRUE(left.running_image() == fresh.content());
  }
}

// An image in the simulator: what a fault leaves is gone on with.
class ResumedImage : public testing::Test {
 protected:
  static format::Header header(EventLoop& loop, std::uint64_t size_bytes) {
    CreateOptions options;
    options.size_bytes = size_bytes;
    options.cluster_size_bytes = 4096;
    options.compression = Compression::zstd;
    return *loop.run(ops::new_image_header(std::move(options)));
  }

  static Task<Result<void>> fill(Storage& storage, format::Header header, const Content& content, bool compress) {
    NewImageDisk disk(storage, std::move(header), true);
    BYRE_CO_CHECK(co_await disk.begin());
    TaskGroup group;
    for (std::uint64_t at = 0; at < content.size() && !group.failed(); at += 4096) {
      if (at / 4096 % 3 == 0) continue;
      const ConstBytes data = ConstBytes(content).subspan(at, 4096);
      group.start(compress ? disk.write_compressed(at, data) : disk.write(at, data));
    }
    BYRE_CO_CHECK(co_await group.join());
    co_return co_await disk.close();
  }

  static Task<Result<void>> resume(Storage& left, format::Header header, const Content& content, bool compress) {
    ResumedStorage resumed(left, "resumed");
    BYRE_CO_CHECK(co_await resumed.begin());
    BYRE_CO_CHECK(co_await fill(resumed, std::move(header), content, compress));
    co_return co_await resumed.finish();
  }

  // Half of the clusters can be compressed.
  static Content pattern(std::uint64_t seed) {
    SimulatedRandom random(seed);
    Content content = noise(random, 60 * 4096);
    for (std::size_t at = 0; at < content.size(); ++at) {
      if (at / 4096 % 2 == 0 && at % 16 != 0) content[at] = std::byte{0};
    }
    return content;
  }
};

TEST_F(ResumedImage, AfterAFaultAnywhereIsThatOfAnUninterruptedRun) {
  std::uint64_t faults = 0;
  for (const bool compress : {false, true}) {
    auto scheduler = std::make_unique<SimulatedScheduler>(11);
    SimulatedScheduler& order = *scheduler;
    EventLoop loop(std::move(scheduler));
    const Content content = pattern(1);
    const format::Header wanted_header = header(loop, content.size());
    MemoryStorage whole;
    ASSERT_TRUE(loop.run(fill(whole, wanted_header, content, compress)));
    const Content wanted = whole.content();
    Content left = pattern(2);  // then what the run before has left
    for (std::uint64_t nth = 1;; ++nth) {
      SCOPED_TRACE(fmt::format("compressed {}, operation {}", compress, nth));
      SimulatedDisk disk(order, {}, nth % 4 == 1 ? pattern(nth) : left);
      FaultPlan plan;
      plan.nth = nth;
      plan.errno_value = nth % 2 == 0 ? ENOSPC : EIO;
      plan.for_ever = true;
      disk.set_fault(plan);
      const auto failed = loop.run(resume(disk, wanted_header, content, compress));
      if (disk.fault_count() == 0) break;
      ++faults;
      ASSERT_FALSE(failed);
      EXPECT_EQ(failed.error().code(), nth % 2 == 0 ? ErrorCode::no_space : ErrorCode::io);
      left = disk.running_image();
      SimulatedDisk again(order, {}, left);
      const auto done = loop.run(resume(again, wanted_header, content, compress));
      ASSERT_TRUE(done) << done.error().message();
      ASSERT_TRUE(again.running_image() == wanted);
    }
  }
  EXPECT_GT(faults, 100u);
}

}  // namespace
}  // namespace byre::test
