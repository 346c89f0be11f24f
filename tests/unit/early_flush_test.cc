// Long copies leave little to be made durable, whenever they end.

#include "ops/early_flush.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "byre/ops/dd.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"
#include "ops/layer_copy.h"
#include "storage/borrowed_storage.h"

namespace byre::test {
namespace {

constexpr std::uint64_t disk_bytes = 6 * ops::EarlyFlush::step_bytes;
// Two steps, and what is in flight.
constexpr std::uint64_t most_volatile_bytes = 3 * ops::EarlyFlush::step_bytes + (2 << 20);

// Memory whose flush takes longer than everything else together.
class SlowStorage final : public BorrowedStorage {
 public:
  explicit SlowStorage(Storage& memory) : BorrowedStorage(memory, "slow") {}

  Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) override {
    for (const ConstBytes part : parts) written_ += part.size();
    most_volatile = std::max(most_volatile, written_ - durable_);
    return lender().write(offset_bytes, parts);
  }
  Task<Result<void>> flush() override {
    const std::uint64_t covered = written_;
    co_await offload([] { std::this_thread::sleep_for(std::chrono::milliseconds(100)); });
    if (fails) co_return std::unexpected(Error::from_errno(5, "flush"));
    durable_ = std::max(durable_, covered);
    co_return Result<void>{};
  }

  std::uint64_t most_volatile = 0;
  bool fails = false;

 private:
  std::uint64_t written_ = 0;
  std::uint64_t durable_ = 0;
};

class CopyAll final : public ops::LayerRule {
  Task<Result<ops::LayerRun>> run_at(std::uint64_t, std::uint64_t max_length_bytes) override {
    co_return ops::LayerRun{ops::LayerAction::copy, max_length_bytes};
  }
  Task<Result<void>> checkpoint(std::uint64_t) override { co_return Result<void>{}; }
};

class EarlyFlushes : public testing::Test {
 protected:
  EarlyFlushes()
      : loop(std::move(*make_event_loop(IoMode::threads))), source_memory(disk_bytes), target(target_memory) {
    const std::vector<std::byte> content(1 << 20, std::byte{7});
    for (std::uint64_t at = 0; at < disk_bytes; at += content.size()) {
      EXPECT_TRUE(loop->run(write_bytes(source_memory, at, ConstBytes(content))));
    }
  }
  std::unique_ptr<Disk> disk(Storage& storage) {
    OpenOptions options;
    options.format = "raw";
    options.writable = true;
    return *loop->run(open_disk(std::make_unique<BorrowedStorage>(storage, "disk"), std::move(options)));
  }
  Result<void> copy_stretch() {
    const auto from = disk(source_memory);
    const auto to = disk(target);
    StretchCopy copy;
    copy.length_bytes = disk_bytes;
    return loop->run(byre::copy_stretch(*from, *to, std::move(copy)));
  }
  Result<void> copy_layers() {
    const auto from = disk(source_memory);
    const auto to = disk(target);
    ops::LayerCopy copy;
    copy.source = from.get();
    copy.target = to.get();
    copy.size_bytes = disk_bytes;
    CopyAll all;
    return loop->run(ops::copy_layers(std::move(copy), all));
  }

  std::unique_ptr<EventLoop> loop;
  MemoryStorage source_memory;
  MemoryStorage target_memory{disk_bytes};
  SlowStorage target;
};

TEST_F(EarlyFlushes, LeaveLittleOfAStretch) {
  ASSERT_TRUE(copy_stretch());
  EXPECT_LE(target.most_volatile, most_volatile_bytes);
}

TEST_F(EarlyFlushes, LeaveLittleOfALayer) {
  ASSERT_TRUE(copy_layers());
  EXPECT_LE(target.most_volatile, most_volatile_bytes);
}

TEST_F(EarlyFlushes, AreErrorsOfTheCopyIfTheyFail) {
  target.fails = true;
  EXPECT_FALSE(copy_stretch());
  EXPECT_FALSE(copy_layers());
}

}  // namespace
}  // namespace byre::test
