// What byre/storage/storage.h promises, asked of every implementation.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>
#include <string>

#include "byre/storage/file.h"
#include "byre/storage/memory.h"
#include "byre/storage/simulated.h"
#include "byre/task/pollers.h"
#include "byre/task/sync.h"
#include "storage/checks.h"
#include "storage/debug_storage.h"
#include "storage/window_storage.h"
#include "support/temporary_directory.h"

namespace byre {
namespace {

struct Kind {
  std::string name;
  IoMode mode = IoMode::threads;
  enum class What { memory, simulated, file, smallest, window, debug } what = What::file;
  CacheMode cache = CacheMode::writeback;
  DiscardMode discard = DiscardMode::unmap;
};

void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

std::vector<Kind> kinds() {
  using enum Kind::What;
  return {{"memory", IoMode::threads, memory},
          {"smallest", IoMode::threads, smallest},
          {"window", IoMode::threads, window},
          {"debug", IoMode::threads, debug},
          {"simulated", IoMode::threads, simulated},
          {"uring_writeback", IoMode::uring, file},
          {"uring_none", IoMode::uring, file, CacheMode::none},
          {"uring_directsync", IoMode::uring, file, CacheMode::directsync},
          {"uring_unsafe_no_discard", IoMode::uring, file, CacheMode::unsafe, DiscardMode::ignore},
          {"threads_writeback", IoMode::threads, file},
          {"threads_none", IoMode::threads, file, CacheMode::none},
          {"threads_writethrough", IoMode::threads, file, CacheMode::writethrough}};
}

std::vector<std::byte> pattern(std::size_t size, unsigned seed) {
  std::minstd_rand random(seed + 1);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() >> 8 | 1);
  return bytes;
}

// Only what every storage must bring itself. What it leaves out is the interface's own.
class SmallestStorage final : public Storage {
 public:
  Task<Result<std::size_t>> read(std::uint64_t at, Bytes target) override {
    const std::size_t count = at < bytes_.size() ? std::min<std::size_t>(target.size(), bytes_.size() - at) : 0;
    if (count > 0) std::memcpy(target.data(), bytes_.data() + at, count);
    co_return count;
  }
  Task<Result<void>> write(std::uint64_t at, std::span<const ConstBytes> parts) override {
    BYRE_CO_CHECK(check_storage_change(*this, at, total_size(parts)));
    for (const ConstBytes part : parts) {
      if (part.empty()) continue;
      bytes_.resize(std::max<std::size_t>(bytes_.size(), at + part.size()));
      std::memcpy(bytes_.data() + at, part.data(), part.size());
      at += part.size();
    }
    co_return Result<void>{};
  }
  Task<Result<void>> flush() override { co_return Result<void>{}; }
  Task<Result<void>> resize(std::uint64_t size) override {
    BYRE_CO_CHECK(check_storage_change(*this, size, 0));
    bytes_.resize(size);
    co_return Result<void>{};
  }
  std::uint64_t size_bytes() const override { return bytes_.size(); }
  const std::string& name() const override { return name_; }

 private:
  std::vector<std::byte> bytes_;
  const std::string name_ = "smallest";
};

class StorageContract : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    const Kind& kind = GetParam();
    if (kind.what == Kind::What::simulated) {
      auto scheduler = std::make_unique<SimulatedScheduler>(7);
      SimulatedScheduler& reference = *scheduler;
      loop_ = std::make_unique<EventLoop>(std::move(scheduler));
      storage_ = std::make_unique<SimulatedDisk>(reference, SimulatedDiskOptions{});
      return;
    }
    auto loop = make_event_loop(kind.mode);
    if (!loop) GTEST_SKIP() << loop.error().message();
    loop_ = std::move(*loop);
    if (kind.what == Kind::What::memory) {
      storage_ = std::make_unique<MemoryStorage>();
      return;
    }
    if (kind.what == Kind::What::window) {
      storage_ = std::make_unique<WindowStorage>(std::make_unique<MemoryStorage>(1 << 16), 1 << 16, std::nullopt);
      return;
    }
    if (kind.what == Kind::What::debug) {
      storage_ = std::make_unique<DebugStorage>(std::make_unique<MemoryStorage>(), DebugRules({}, {}));
      return;
    }
    if (kind.what == Kind::What::smallest) {
      storage_ = std::make_unique<SmallestStorage>();
      return;
    }
    FileOptions options;
    options.writable = options.create = true;
    options.cache = kind.cache;
    options.discard = kind.discard;
    auto opened = open_file(directory_.file("image"), options);
    if (!opened && opened.error().code() == ErrorCode::unsupported) GTEST_SKIP() << opened.error().message();
    ASSERT_TRUE(opened) << opened.error().message();
    storage_ = std::move(*opened);
  }

  void TearDown() override { storage_.reset(); }

  template <class T>
  T run(Task<T> task) {
    return loop_->run(std::move(task));
  }
  void write(std::uint64_t offset, ConstBytes bytes) {
    const auto result = run(write_bytes(*storage_, offset, bytes));
    ASSERT_TRUE(result) << result.error().message();
  }
  std::vector<std::byte> read(std::uint64_t offset, std::size_t size) {
    std::vector<std::byte> bytes(size, std::byte{0xee});
    const auto count = run(storage_->read(offset, bytes));
    EXPECT_TRUE(count) << (count ? "" : count.error().message());
    bytes.resize(count.value_or(0));
    return bytes;
  }
  std::vector<std::byte> all() { return read(0, storage_->size_bytes()); }

  TemporaryDirectory directory_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Storage> storage_;
};

INSTANTIATE_TEST_SUITE_P(, StorageContract, testing::ValuesIn(kinds()),
                         [](const auto& kind) { return kind.param.name; });

TEST_P(StorageContract, ReadsBackWhatWasWrittenAtAnyAlignment) {
  std::vector<std::byte> model;
  unsigned seed = 0;
  for (const auto& [offset, size] : std::vector<std::pair<std::size_t, std::size_t>>{
           {0, 4096}, {4096, 8192}, {100, 1}, {4095, 2}, {511, 4097}, {12288, 100}, {12388, 5000}, {70000, 300001}}) {
    const auto bytes = pattern(size, ++seed);
    model.resize(std::max(model.size(), offset + size));
    std::ranges::copy(bytes, model.begin() + static_cast<std::ptrdiff_t>(offset));
    write(offset, bytes);
    ASSERT_EQ(storage_->size_bytes(), model.size());
    ASSERT_EQ(all(), model) << offset << " " << size;
  }
  for (const auto& [offset, size] :
       std::vector<std::pair<std::size_t, std::size_t>>{{1, 1}, {4000, 200}, {65535, 140000}}) {
    const auto from = model.begin() + static_cast<std::ptrdiff_t>(offset);
    EXPECT_EQ(read(offset, size), std::vector<std::byte>(from, from + static_cast<std::ptrdiff_t>(size)));
  }
}

TEST_P(StorageContract, WritesPartsOneBehindTheOther) {
  std::vector<std::vector<std::byte>> parts;
  std::vector<std::byte> model(777);
  for (unsigned i = 0; i < 20; ++i) {
    parts.push_back(pattern(i * 977 % 5000, i));
    model.insert(model.end(), parts.back().begin(), parts.back().end());
  }
  const std::vector<ConstBytes> spans(parts.begin(), parts.end());
  ASSERT_TRUE(run(storage_->write(777, spans)));
  EXPECT_EQ(all(), model);
}

TEST_P(StorageContract, AReadIsShortOnlyAtTheEnd) {
  write(0, pattern(5000, 1));
  EXPECT_EQ(read(4000, 4096).size(), 1000u);
  EXPECT_EQ(read(5000, 10).size(), 0u);
  EXPECT_EQ(read(1 << 20, 10).size(), 0u);
  EXPECT_EQ(read(0, 5000), pattern(5000, 1));
  EXPECT_EQ(read(0, 0).size(), 0u);
}

// docs/format.md H-59.
TEST_P(StorageContract, ReadExactlyNamesWhatIsMissing) {
  write(0, pattern(5000, 1));
  std::vector<std::byte> target(200);
  const auto result = run(read_exactly(*storage_, 4900, target));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::io);
  EXPECT_EQ(result.error().message(), storage_->name() + ": ends at byte 5000, but 200 bytes at 4900 were to be read");
  std::ranges::fill(target, std::byte{0xee});
  ASSERT_TRUE(run(read_zero_filled(*storage_, 4900, target)));
  EXPECT_TRUE(std::all_of(target.begin() + 100, target.end(), [](std::byte byte) { return byte == std::byte{0}; }));
  EXPECT_EQ(target[99], pattern(5000, 1)[4999]);
}

TEST_P(StorageContract, WhatLiesBetweenTheEndAndALaterWriteIsZero) {
  write(0, pattern(10, 1));
  write(100000, pattern(10, 2));
  EXPECT_EQ(storage_->size_bytes(), 100010u);
  EXPECT_EQ(read(10, 99990), std::vector<std::byte>(99990));
}

TEST_P(StorageContract, ZeroClearsExactlyItsRange) {
  for (const bool may_unmap : {false, true}) {
    auto model = pattern(300000, 3);
    write(0, model);
    for (const auto& [offset, size] :
         std::vector<std::pair<std::size_t, std::size_t>>{{0, 1}, {4095, 2}, {5000, 20000}, {65536, 131072}, {10, 0}}) {
      ASSERT_TRUE(run(storage_->zero(offset, size, may_unmap)));
      std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(offset), size, std::byte{0});
      ASSERT_EQ(all(), model) << offset << " " << size << " " << may_unmap;
    }
  }
}

TEST_P(StorageContract, ZeroBehindTheEndGrows) {
  for (const bool may_unmap : {false, true}) {
    ASSERT_TRUE(run(storage_->resize(0)));
    write(0, pattern(5000, 4));
    ASSERT_TRUE(run(storage_->zero(4000, 6001, may_unmap)));
    EXPECT_EQ(storage_->size_bytes(), 10001u);
    auto model = pattern(5000, 4);
    model.resize(4000);
    model.resize(10001);
    EXPECT_EQ(all(), model);
  }
}

TEST_P(StorageContract, PunchLeavesZerosOrTheOldBytesAndNothingElse) {
  const auto model = pattern(200000, 5);
  write(0, model);
  ASSERT_TRUE(run(storage_->punch(5001, 150000)));
  ASSERT_TRUE(run(storage_->punch(190000, 1 << 20)));
  EXPECT_EQ(storage_->size_bytes(), 200000u);
  const auto now = all();
  ASSERT_EQ(now.size(), model.size());
  for (std::size_t i = 0; i < now.size(); ++i) {
    const bool punched = (i >= 5001 && i < 155001) || i >= 190000;
    ASSERT_TRUE(now[i] == model[i] || (punched && now[i] == std::byte{0})) << i;
  }
}

TEST_P(StorageContract, ResizeCutsAndExtendsWithZeros) {
  const auto bytes = pattern(70000, 6);
  write(0, bytes);
  ASSERT_TRUE(run(storage_->resize(66001)));
  EXPECT_EQ(storage_->size_bytes(), 66001u);
  ASSERT_TRUE(run(storage_->resize(80000)));
  auto model = bytes;
  model.resize(66001);
  model.resize(80000);
  EXPECT_EQ(all(), model);
  ASSERT_TRUE(run(storage_->resize(0)));
  EXPECT_EQ(storage_->size_bytes(), 0u);
}

TEST_P(StorageContract, AllocateGrowsAndKeepsTheContent) {
  auto model = pattern(5000, 7);
  write(0, model);
  ASSERT_TRUE(run(storage_->allocate(1000, 99001)));
  EXPECT_EQ(storage_->size_bytes(), 100001u);
  model.resize(100001);
  EXPECT_EQ(all(), model);
}

TEST_P(StorageContract, ExtendGrowsWithZerosAndNeverCuts) {
  auto model = pattern(5000, 7);
  write(0, model);
  ASSERT_TRUE(run(storage_->extend(4096)));
  EXPECT_EQ(all(), model);
  ASSERT_TRUE(run(storage_->extend(100001)));
  EXPECT_EQ(storage_->size_bytes(), 100001u);
  model.resize(100001);
  EXPECT_EQ(all(), model);
}

TEST_P(StorageContract, ExtentsCoverTheStorageAndHolesReadAsZeros) {
  write(0, pattern(65536, 8));
  write(1 << 20, pattern(65536, 9));
  ASSERT_TRUE(run(storage_->resize(2 << 20)));
  std::uint64_t at = 0;
  while (at < storage_->size_bytes()) {
    const auto extent = run(storage_->extent_at(at));
    ASSERT_TRUE(extent) << extent.error().message();
    ASSERT_GT(extent->length_bytes, 0u);
    ASSERT_LE(at + extent->length_bytes, storage_->size_bytes());
    if (!extent->data) {
      EXPECT_TRUE(is_all_zero(read(at, extent->length_bytes)));
    }
    at += extent->length_bytes;
  }
  const auto inside = run(storage_->extent_at(70000));
  const bool knows_holes = GetParam().what != Kind::What::smallest;
  EXPECT_EQ(inside->data, !knows_holes);
  EXPECT_EQ(inside->length_bytes, (knows_holes ? 1u << 20 : storage_->size_bytes()) - 70000u);
  EXPECT_TRUE(run(storage_->extent_at((1 << 20) + 5))->data);
  const auto behind = run(storage_->extent_at(2 << 20));
  ASSERT_FALSE(behind);
  EXPECT_EQ(behind.error().code(), ErrorCode::invalid_argument);
}

TEST_P(StorageContract, WhatCannotBeClonedChangesNothing) {
  const auto before = pattern(10000, 12);
  write(0, before);
  MemoryStorage other(pattern(8192, 13));
  for (const std::uint64_t offset : {0u, 8192u, 16384u}) {
    const auto cloned = run(storage_->clone(offset, other, 0, 8192));
    ASSERT_FALSE(cloned);
    EXPECT_EQ(cloned.error().code(), ErrorCode::unsupported);
    EXPECT_NE(cloned.error().message().find(storage_->name()), std::string::npos);
    EXPECT_NE(cloned.error().message().find(other.name()), std::string::npos);
  }
  EXPECT_FALSE(run(try_clone(*storage_, other)));
  EXPECT_EQ(all(), before);
}

// Whether it is so depends on the file system; either answer is checked.
TEST_P(StorageContract, AFileIsClonedWholeOrStaysAsItIs) {
  if (GetParam().what != Kind::What::file) return;
  FileOptions options;
  options.writable = options.create = true;
  options.cache = GetParam().cache;
  auto other = open_file(directory_.file("other"), options);
  ASSERT_TRUE(other);
  const std::uint64_t block = storage_->clone_block_bytes();
  ASSERT_GT(block, 0u);
  const auto content = pattern(4 * block, 14);
  ASSERT_TRUE(run(write_bytes(**other, 0, content)));
  auto model = pattern(block + 10, 15);
  write(0, model);
  const auto tried = run(try_clone(*storage_, **other));
  EXPECT_EQ(all(), model);
  const auto cloned = run(storage_->clone(2 * block, **other, block, 3 * block));
  EXPECT_EQ(tried.has_value(), cloned.has_value());
  if (cloned) {
    model.resize(2 * block);
    model.insert(model.end(), content.begin() + static_cast<std::ptrdiff_t>(block), content.end());
  } else {
    EXPECT_EQ(cloned.error().code(), ErrorCode::unsupported);
  }
  EXPECT_EQ(storage_->size_bytes(), model.size());
  EXPECT_EQ(all(), model);
}

TEST_P(StorageContract, FlushSucceeds) {
  write(0, pattern(5000, 10));
  const auto result = run(storage_->flush());
  EXPECT_TRUE(result);
}

TEST_P(StorageContract, RangesBehindTheLargestOffsetAreRefused) {
  const auto bytes = pattern(2, 1);
  for (const std::uint64_t offset : {(std::uint64_t{1} << 63) - 2, ~std::uint64_t{0}}) {
    const auto result = run(write_bytes(*storage_, offset, bytes));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code(), ErrorCode::no_space);
    EXPECT_FALSE(run(storage_->zero(offset, 2, false)));
    EXPECT_FALSE(run(storage_->resize(offset | std::uint64_t{1} << 63)));
  }
  EXPECT_EQ(storage_->size_bytes(), 0u);
}

Task<Result<void>> write_at(Storage& storage, std::uint64_t offset, ConstBytes bytes) {
  co_return co_await write_bytes(storage, offset, bytes);
}

Task<Result<void>> write_all_at_once(Storage& storage, ConstBytes bytes, std::span<const std::size_t> cuts) {
  TaskGroup group;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    group.start(write_at(storage, cuts[i], bytes.subspan(cuts[i], cuts[i + 1] - cuts[i])));
  }
  co_return co_await group.join();
}

// Neighbours in one block or page, in flight together, in any order, behind and before the end of the file.
TEST_P(StorageContract, WritesThatShareABlockInFlightLoseNothing) {
  for (unsigned round = 0; round < 20; ++round) {
    const auto bytes = pattern(60000, round);
    std::minstd_rand random(round + 100);
    std::vector<std::size_t> cuts{0, bytes.size()};
    for (int i = 0; i < 40; ++i) cuts.push_back(random() % bytes.size());
    std::ranges::sort(cuts);
    ASSERT_TRUE(run(storage_->resize(round % 2 ? 0 : 30000)));
    const auto result = run(write_all_at_once(*storage_, bytes, cuts));
    ASSERT_TRUE(result) << result.error().message();
    ASSERT_EQ(storage_->size_bytes(), bytes.size());
    ASSERT_EQ(all(), bytes) << round;
  }
}

Task<Result<void>> zero_at(Storage& storage, std::uint64_t offset, std::uint64_t length) {
  co_return co_await storage.zero(offset, length, true);
}

Task<Result<void>> extend_to(Storage& storage, std::uint64_t size_bytes) {
  co_return co_await storage.extend(size_bytes);
}

Task<Result<void>> grow_and_write(Storage& storage, ConstBytes bytes) {
  TaskGroup group;
  group.start(write_at(storage, 150001, bytes));
  group.start(zero_at(storage, 10000, 40001));
  group.start(write_at(storage, 250003, bytes));
  co_return co_await group.join();
}

TEST_P(StorageContract, GrowingByZeroDoesNotCutOffAWriteUnderWay) {
  const auto bytes = pattern(90000, 11);
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(run(storage_->resize(0)));
    const auto result = run(grow_and_write(*storage_, bytes));
    ASSERT_TRUE(result) << result.error().message();
    ASSERT_EQ(storage_->size_bytes(), 340003u);
    ASSERT_EQ(read(150001, 90000), bytes);
    ASSERT_EQ(read(250003, 90000), bytes);
  }
}

Task<Result<void>> extend_and_write(Storage& storage, const std::vector<std::byte>& bytes) {
  TaskGroup group;
  group.start(write_at(storage, 150001, bytes));
  group.start(extend_to(storage, 100000));
  group.start(write_at(storage, 250003, bytes));
  group.start(extend_to(storage, 300000));
  co_return co_await group.join();
}

TEST_P(StorageContract, ExtendingDoesNotCutOffAWriteUnderWay) {
  const auto bytes = pattern(90000, 11);
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(run(storage_->resize(0)));
    const auto result = run(extend_and_write(*storage_, bytes));
    ASSERT_TRUE(result) << result.error().message();
    ASSERT_EQ(storage_->size_bytes(), 340003u);
    ASSERT_EQ(read(150001, 90000), bytes);
    ASSERT_EQ(read(250003, 90000), bytes);
  }
}

TEST(MemoryStorageTest, ATerabyteThatIsEmptyTakesNoMemory) {
  EventLoop loop(std::make_unique<SimulatedScheduler>(1));
  MemoryStorage storage(std::uint64_t{1} << 42);
  const auto bytes = pattern(10, 1);
  ASSERT_TRUE(loop.run(write_bytes(storage, (std::uint64_t{1} << 41) + 3, bytes)));
  EXPECT_EQ(storage.allocated_bytes(), 16384u);
  EXPECT_EQ(loop.run(storage.extent_at(0))->length_bytes, std::uint64_t{1} << 41);
  ASSERT_TRUE(loop.run(storage.zero(0, std::uint64_t{1} << 42, true)));
  EXPECT_EQ(storage.allocated_bytes(), 0u);
}

TEST(MemoryStorageTest, ReadOnlyRefusesChanges) {
  EventLoop loop(std::make_unique<SimulatedScheduler>(1));
  MemoryStorage storage(pattern(100, 1));
  storage.set_writable(false);
  const auto bytes = pattern(10, 1);
  for (const auto& result :
       {loop.run(write_bytes(storage, 0, bytes)), loop.run(storage.zero(0, 1, true)), loop.run(storage.punch(0, 1)),
        loop.run(storage.resize(1)), loop.run(storage.allocate(0, 1))}) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code(), ErrorCode::refused);
  }
  EXPECT_EQ(storage.content(), pattern(100, 1));
}

}  // namespace
}  // namespace byre
