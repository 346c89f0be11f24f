// The engine on a memory storage: what a request does to content and tables.

#include <gtest/gtest.h>

#include <atomic>
#include <random>

#include "byre/data/disk.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"
#include "support/disk_on_memory.h"
#include "support/fresh_image.h"
#include "support/sanitized.h"
#include "support/verify.h"

namespace byre {
namespace {

using test::FreshImageOptions;

class EngineTest : public test::DiskOnMemory {
 protected:
  std::vector<std::byte> read(Disk& disk, std::uint64_t offset, std::size_t length) {
    std::vector<std::byte> bytes(length);
    const auto done = run(disk.read(offset, bytes));
    EXPECT_TRUE(done.has_value()) << done.error().message();
    return bytes;
  }

  void write(Disk& disk, std::uint64_t offset, std::size_t length, int value) {
    const std::vector<std::byte> bytes(length, static_cast<std::byte>(value));
    const auto done = run(disk.write(offset, bytes));
    EXPECT_TRUE(done.has_value()) << done.error().message();
  }
};

TEST_F(EngineTest, ReadsBackWhatWasWrittenAtAnyAlignmentAndClosesClean) {
  for (const unsigned cluster_bits : {9u, 12u, 16u, 21u}) {
    FreshImageOptions options;
    options.geometry.cluster_bits = cluster_bits;
    options.size_bytes = 4 << 20;
    auto disk = open(test::fresh_image(options));
    ASSERT_TRUE(disk);
    write(*disk, 1000, 5000, 0x11);
    write(*disk, 3000, 100, 0x22);
    write(*disk, 2'000'000, 1'000'000, 0x33);
    const auto bytes = read(*disk, 0, 4 << 20);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const int expected = i >= 3000 && i < 3100             ? 0x22
                           : i >= 1000 && i < 6000           ? 0x11
                           : i >= 2'000'000 && i < 3'000'000 ? 0x33
                                                             : 0;
      ASSERT_EQ(static_cast<int>(bytes[i]), expected) << "cluster bits " << cluster_bits << ", byte " << i;
    }
    ASSERT_TRUE(run(disk->close()));
    const auto verdict = test::verify(storage_->content());
    EXPECT_TRUE(verdict.clean()) << verdict.text();
  }
}

TEST_F(EngineTest, ACancelledCompressedWriteChangesNothingAndTheNextOneGoesOn) {
  std::atomic<bool> cancel{true};
  OpenOptions options;
  options.writable = true;
  options.format = "qcow2";
  options.cancel = &cancel;
  FreshImageOptions fresh;
  fresh.size_bytes = 1 << 20;
  auto storage = std::make_unique<MemoryStorage>(ConstBytes(test::fresh_image(fresh)));
  storage_ = storage.get();
  const auto disk = std::move(*run(open_disk(std::move(storage), options)));
  const std::vector<std::byte> cluster(disk->cluster_size_bytes(), std::byte{7});
  const auto done = run(disk->write_compressed(0, cluster));
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().code(), ErrorCode::cancelled);
  EXPECT_EQ(read(*disk, 0, 1), std::vector<std::byte>(1));
  cancel = false;
  EXPECT_TRUE(run(disk->write_compressed(0, cluster)));
  EXPECT_EQ(read(*disk, 0, cluster.size()), cluster);
  ASSERT_TRUE(run(disk->close()));
  EXPECT_TRUE(test::verify(storage_->content()).clean());
}

// Random single requests against a model in memory, over the geometry matrix; verified after each close.
TEST_F(EngineTest, FollowsAModelThroughRandomRequests) {
  std::mt19937_64 random(1);
  for (unsigned round = 0; round < test::examples(120); ++round) {
    FreshImageOptions options;
    options.geometry.version = round % 3 == 0 ? 2 : 3;
    options.geometry.cluster_bits = std::array{9u, 10u, 12u, 16u}[random() % 4];
    options.geometry.refcount_order = options.geometry.version == 2 ? 4 : static_cast<unsigned>(random() % 7);
    const std::uint64_t size = 512 * (1 + random() % 400);
    options.size_bytes = size;
    std::vector<std::byte> model(size);
    std::unique_ptr<Disk> backing;
    if (round % 2 == 0) {
      options.backing_name = "base";
      std::vector<std::byte> base(512 * (random() % 500));
      for (auto& byte : base) byte = static_cast<std::byte>(random());
      std::copy_n(base.begin(), std::min(base.size(), model.size()), model.begin());
      OpenOptions raw;
      raw.format = "raw";
      backing = std::move(*run(open_disk(std::make_unique<MemoryStorage>(ConstBytes(base)), raw)));
    }
    auto disk = open(test::fresh_image(options), true, std::move(backing));
    ASSERT_TRUE(disk);
    const std::uint64_t cluster = disk->cluster_size_bytes();
    for (int step = 0; step < 60; ++step) {
      const std::uint64_t offset = random() % size;
      const std::uint64_t length = 1 + random() % std::min<std::uint64_t>(size - offset, 1 + random() % 40000);
      const auto value = static_cast<std::byte>(1 + random() % 255);
      const auto where = model.begin() + static_cast<std::ptrdiff_t>(offset);
      switch (random() % 6) {
        case 0: {
          ASSERT_TRUE(run(disk->write_zeroes(offset, length, random() % 2 ? ZeroMode::keep : ZeroMode::unmap)));
          std::fill_n(where, length, std::byte{0});
          break;
        }
        case 1: {
          if (!run(disk->discard(offset, length))) FAIL();
          const auto now = read(*disk, 0, size);
          for (std::uint64_t i = 0; i < size; ++i) {
            const bool in = i >= offset && i < offset + length;
            ASSERT_TRUE(now[i] == model[i] || (in && now[i] == std::byte{0})) << round << " " << step << " " << i;
          }
          model = now;
          break;
        }
        case 2: {
          const std::uint64_t first = offset / cluster * cluster;
          const std::uint64_t bytes = std::min(cluster, size - first);
          const std::vector<std::byte> data(bytes, value);
          if (run(disk->write_compressed(first, data))) {
            std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(first), bytes, value);
          }
          break;
        }
        case 3: ASSERT_TRUE(run(disk->flush())); break;
        default: {
          write(*disk, offset, length, static_cast<int>(value));
          std::fill_n(where, length, value);
          break;
        }
      }
      ASSERT_EQ(read(*disk, 0, size), model) << "round " << round << ", step " << step;
    }
    ASSERT_TRUE(run(disk->close()));
    const auto verdict = test::verify(storage_->content());
    ASSERT_TRUE(verdict.clean()) << "round " << round << ": " << verdict.text();
  }
}

}  // namespace
}  // namespace byre
