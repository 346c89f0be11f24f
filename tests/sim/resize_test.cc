// Growing and shrinking under crashes and faults: at every moment the image has the old or the new size, is sound, and
// reads as it did, with zeros in what was added. A failure prints the seed and how to repeat it.

#include <gtest/gtest.h>

#include "byre/storage/memory.h"
#include "byre/storage/simulated.h"
#include "support/seeded_runs.h"
#include "support/snapshot_image.h"
#include "support/test_image.h"
#include "support/verify.h"

namespace byre::test {
namespace {

using Content = std::vector<std::byte>;

TestImage draw(SimulatedRandom& random) {
  TestImage test;
  format::Geometry& geometry = test.image.geometry;
  geometry.version = random.one_in(3) ? 2 : 3;
  geometry.cluster_bits = static_cast<unsigned>(9 + random.below(random.one_in(4) ? 4 : 2));
  geometry.refcount_order = geometry.version == 2 ? 4 : static_cast<unsigned>(random.below(7));
  test.cache_bytes = random.one_in(2) ? 1 : 0;
  if (geometry.version == 3) test.image.lazy_refcounts = random.one_in(4);
  test.image.size_bytes = 512 * (1 + random.below(400));
  if (random.one_in(2)) {
    test.image.backing_name = "base";
    test.backing.resize(512 * (1 + random.below(800)));
    for (std::size_t i = 0; i < test.backing.size(); ++i) {
      test.backing[i] = static_cast<std::byte>(random.one_in(64) ? 0 : i / 512 * 37 + 1);
    }
  }
  return test;
}

class ResizeRun {
 public:
  ResizeRun(std::uint64_t seed, FaultPlan fault)
      : seed_(seed), fault_(fault), random_(seed * 2 + 1), test_(draw(random_)) {}

  void run() {
    prepare();
    if (!failure.empty()) return;
    auto scheduler = std::make_unique<SimulatedScheduler>(seed_);
    SimulatedScheduler& schedule = *scheduler;
    EventLoop loop(std::move(scheduler));
    SimulatedDiskOptions options;
    options.flush_errors_stick = false;
    auto storage = std::make_unique<SimulatedDisk>(schedule, options, image_);
    storage_ = storage.get();
    auto disk = loop.run(open_image(std::move(storage), test_, true));
    if (!disk) return fail("open: " + disk.error().message());
    const std::uint64_t before = storage_->operation_count();
    storage_->set_fault(fault_);
    for (int round = 0; round < 3 && failure.empty(); ++round) {
      schedule.set_before_pick([this] { crash(); });
      loop.run(resize(**disk));
      schedule.set_before_pick(nullptr);
      if (round == 0) operations = storage_->operation_count() - before;
      if (failure.empty()) loop.run(write_something(**disk));
    }
    if (failure.empty()) loop.run(finish(**disk));
  }

  std::string failure;
  std::uint64_t crash_states = 0;
  std::uint64_t operations = 0;  // of the first resizing, which is the one that meets the fault

 private:
  void fail(std::string text) {
    if (failure.empty()) failure = std::move(text);
  }

  // An image with data, perhaps with a snapshot that has the only reference to some of it.
  void prepare() {
    image_ = fresh_image(test_.image);
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));
    change_in_memory(loop, 6);
    if (failure.empty() && test_.image.geometry.version == 3 && random_.one_in(3) && add_snapshot(image_, "1")) {
      snapshot_ = content_;
      change_in_memory(loop, 3);
    }
    known_leaks_ = verify(image_).leaks;
  }

  void change_in_memory(EventLoop& loop, int writes) {
    auto storage = std::make_unique<MemoryStorage>(ConstBytes(image_));
    MemoryStorage* memory = storage.get();
    auto disk = loop.run(open_image(std::move(storage), test_, true));
    if (!disk) return fail("preparation: " + disk.error().message());
    for (int i = 0; i < writes; ++i) {
      if (auto done = loop.run(write_once(**disk)); !done) return fail("preparation: " + done.error().message());
    }
    if (auto closed = loop.run((*disk)->close()); !closed) return fail("preparation: " + closed.error().message());
    image_ = memory->content();
    auto content = loop.run(read_all(ConstBytes(image_), test_));
    if (!content) return fail("preparation: " + content.error().message());
    content_ = *content;
  }

  Task<Result<void>> write_once(Disk& disk) {
    const std::uint64_t cluster = disk.cluster_size_bytes();
    if (disk.size_bytes() == 0) co_return Result<void>{};
    const std::uint64_t offset = random_.below(disk.size_bytes() / 512) * 512;
    const std::uint64_t length = std::min(disk.size_bytes() - offset, 512 * (1 + random_.below(cluster / 256)));
    const bool zeros = random_.one_in(4);
    const std::vector<std::byte> data(length, zeros ? std::byte{0} : static_cast<std::byte>(1 + random_.below(255)));
    content_.resize(disk.size_bytes());
    std::ranges::copy(data, content_.begin() + static_cast<std::ptrdiff_t>(offset));
    if (zeros) co_return co_await disk.write_zeroes(offset, length, ZeroMode::keep);
    const ConstBytes bytes(data);
    co_return co_await disk.write(offset, bytes);
  }

  // No fault is in the way any more. Parts of clusters show whether what was free reads as zeros.
  Task<Result<void>> write_something(Disk& disk) {
    for (int i = 0; i < 4; ++i) {
      const auto done = co_await write_once(disk);
      if (!done) fail("write: " + done.error().message());
    }
    const auto flushed = co_await disk.flush();
    if (!flushed) fail("flush: " + flushed.error().message());
    const Content expected = content_;
    co_await read_back(disk);
    if (content_ != expected) fail("running, what was written reads differently");
    co_return Result<void>{};
  }

  Task<void> read_back(Disk& disk) {
    content_.resize(disk.size_bytes());
    const Bytes target(content_);
    const auto done = co_await disk.read(0, target);
    if (!done) fail("read: " + done.error().message());
  }

  Task<Result<void>> resize(Disk& disk) {
    const std::uint64_t spans = disk.cluster_size_bytes() * disk.cluster_size_bytes() / 8;
    const std::uint64_t most = random_.one_in(3) ? 6 * spans : std::min<std::uint64_t>(2 * spans, 512 * 600);
    new_size_ = random_.one_in(8) ? 0 : std::min<std::uint64_t>(random_.below(most / 512) * 512, 4 << 20);
    const bool can_preallocate = new_size_ >= disk.size_bytes();
    const auto mode = can_preallocate ? static_cast<Preallocation>(random_.below(4)) : Preallocation::off;
    auto done = co_await disk.resize(new_size_, mode);
    if (!done && fault_.nth == 0) fail("resize: " + done.error().message());
    if (!done && disk.size_bytes() != content_.size() && disk.size_bytes() != new_size_) fail("neither size");
    storage_->set_fault({});
    if (!done) {  // again, and this time nothing is in the way
      done = co_await disk.resize(new_size_, mode);
      if (!done) fail("resize again: " + done.error().message());
    }
    Content expected = content_;
    expected.resize(new_size_);
    co_await read_back(disk);
    if (content_ != expected) fail("running, the resized disk reads differently");
    co_return Result<void>{};
  }

  void crash() {
    for (unsigned i = 0; i < 3 && failure.empty(); ++i) {
      static constexpr CrashMode modes[] = {CrashMode::random_subset, CrashMode::prefix_in_order,
                                            CrashMode::everything};
      storage_->crash_image(random_, modes[i], crash_);
      ++crash_states;
      examine(crash_, "crash state " + std::to_string(crash_states));
    }
  }

  void examine(const Content& image, const std::string& where) {
    // Resizing holds the dirty bit, but keeps the order of writes all the same.
    const Verdict verdict = verify(image, test_.lazy() ? Counts::judged_if_clean : Counts::judged);
    if (!verdict.sound()) return fail(where + ": " + verdict.text());
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));
    const auto content = loop.run(read_all(ConstBytes(image), test_));
    if (!content) return fail(where + ": " + content.error().message());
    if (content->size() != content_.size() && content->size() != new_size_) {
      return fail(where + ": neither the old nor the new size");
    }
    Content expected = content_;
    expected.resize(content->size());
    if (*content != expected) fail(where + ": it reads differently");
    if (!snapshot_) return;
    const auto snapshot = loop.run(read_all(ConstBytes(image), test_, "1"));
    if (!snapshot) return fail(where + ", snapshot: " + snapshot.error().message());
    if (*snapshot != *snapshot_) fail(where + ": the snapshot reads differently");
  }

  Task<Result<void>> finish(Disk& disk) {
    new_size_ = disk.size_bytes();
    const auto closed = co_await disk.close();
    if (!closed) fail("close: " + closed.error().message());
    SimulatedRandom unused(0);
    storage_->crash_image(unused, CrashMode::nothing, crash_);
    examine(crash_, "closed");
    const Verdict verdict = verify(crash_);
    if (verdict.dirty || (fault_.nth == 0 && verdict.leaks > known_leaks_)) fail("closed: " + verdict.text());
    co_return Result<void>{};
  }

  std::uint64_t seed_;
  FaultPlan fault_;
  SimulatedRandom random_;
  TestImage test_;
  Content image_, crash_, content_;
  std::optional<Content> snapshot_;
  SimulatedDisk* storage_ = nullptr;
  std::uint64_t new_size_ = 0;
  std::uint64_t known_leaks_ = 0;
};

SeededOutcome run_program(std::uint64_t seed, std::size_t, const FaultPlan& fault) {
  ResizeRun run(seed, fault);
  run.run();
  return {run.failure, run.crash_states, {run.operations}};
}

TEST(Resize, EveryCrashPointLeavesTheOldOrTheNewDisk) {
  run_until(6'000'000, 15'000, run_program);
  expect_passed({"allocator: an empty refcount block goes", "edit: a shared L2 table is copied"});
}
TEST(Resize, AFaultAtAnyOperationLeavesADiskThatCanBeResizedAgain) {
  fail_every_operation(6'500'000, 12, false, run_program);
}
TEST(NightlyResize, EveryCrashPointLeavesTheOldOrTheNewDisk) { run_until(60'000'000, 300'000, run_program); }
TEST(NightlyResize, AFaultAtAnyOperationLeavesADiskThatCanBeResizedAgain) {
  fail_every_operation(65'000'000, 300, false, run_program);
}

// Where a shrink failed before the file could be cut, what still lies there is no fresh space: parts of clusters are
// written without zeros around them there. Freed space keeps its bytes.
class FailedShrink {
 public:
  FailedShrink() {
    test_.image.geometry = {3, 12, 6};  // 2 MiB for each refcount block
    test_.image.size_bytes = whole;
    test_.cache_bytes = 1;
    test_.discard = false;
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));
    auto storage = std::make_unique<MemoryStorage>(ConstBytes(fresh_image(test_.image)));
    MemoryStorage* memory = storage.get();
    const auto disk = loop.run(open_image(std::move(storage), test_, true));
    const Content data(whole, std::byte{0xee});
    const ConstBytes bytes(data);
    EXPECT_TRUE(loop.run((*disk)->write(0, bytes)) && loop.run((*disk)->close()));
    image_ = memory->content();
  }

  // Whether it met the fault.
  bool run(std::uint64_t nth) {
    auto scheduler = std::make_unique<SimulatedScheduler>(nth);
    SimulatedScheduler& schedule = *scheduler;
    EventLoop loop(std::move(scheduler));
    SimulatedDiskOptions options;
    options.flush_errors_stick = false;
    auto storage = std::make_unique<SimulatedDisk>(schedule, options, image_);
    SimulatedDisk& simulated = *storage;
    const auto disk = loop.run(open_image(std::move(storage), test_, true));
    simulated.set_fault({.nth = nth, .only = {}, .errno_value = EIO});
    const std::uint64_t before = simulated.operation_count();
    [[maybe_unused]] const auto shrunk = loop.run((*disk)->resize(half, Preallocation::off));
    const bool met = simulated.operation_count() - before >= nth;
    simulated.set_fault({});
    const Result<bool> zeros_between = loop.run(write_sectors(**disk));
    EXPECT_TRUE(zeros_between && *zeros_between) << "fault at operation " << nth;
    EXPECT_TRUE(loop.run((*disk)->close()));
    return met;
  }

 private:
  static constexpr std::uint64_t cluster = 4096, whole = 8 << 20, half = 3 << 20;

  // One into each cluster of what was shrunk.
  static Task<Result<bool>> write_sectors(Disk& disk) {
    BYRE_CO_CHECK(co_await disk.resize(half, Preallocation::off));
    BYRE_CO_CHECK(co_await disk.resize(whole, Preallocation::off));
    Content expected(whole);
    std::fill_n(expected.begin(), half, std::byte{0xee});
    const Content sector(512, std::byte{0x11});
    const ConstBytes bytes(sector);
    for (std::uint64_t at = half; at < whole; at += cluster) {
      BYRE_CO_CHECK(co_await disk.write(at, bytes));
      std::ranges::copy(sector, expected.begin() + static_cast<std::ptrdiff_t>(at));
    }
    Content found(whole);
    const Bytes target(found);
    BYRE_CO_CHECK(co_await disk.read(0, target));
    co_return found == expected;
  }

  TestImage test_;
  Content image_;
};

TEST(Resize, AShrinkThatFailedLeavesNothingThatCountsAsFresh) {
  FailedShrink shrink;
  std::uint64_t nth = 1;
  while (shrink.run(nth) && !testing::Test::HasFailure()) ++nth;
  EXPECT_GT(nth, 20u);
}

}  // namespace
}  // namespace byre::test
