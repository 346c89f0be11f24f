// Images with stable places: what lies where follows from the size of the disk and the offset, they read as what was
// written and are sound, and sharing blocks with a source changes nothing.

#include "ops/stable_image.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "byre/ops/copy.h"
#include "byre/ops/create.h"
#include "byre/storage/memory.h"
#include "byre/storage/simulated.h"
#include "ops/new_image_copy.h"
#include "support/findings.h"

namespace byre::test {
namespace {

using Content = std::vector<std::byte>;
constexpr std::uint64_t mib = 1 << 20;

struct Shape {
  std::uint64_t cluster_bytes = 65536;
  unsigned refcount_bits = 16;
};

class StableImage : public testing::Test {
 protected:
  StableImage() {
    auto scheduler = std::make_unique<SimulatedScheduler>(1);
    scheduler_ = scheduler.get();
    loop_ = std::make_unique<EventLoop>(std::move(scheduler));
  }

  format::Header header(std::uint64_t size_bytes, const Shape& shape) {
    CreateOptions options;
    options.size_bytes = size_bytes;
    options.cluster_size_bytes = shape.cluster_bytes;
    options.refcount_bits = shape.refcount_bits;
    return *loop_->run(ops::new_image_header(options));
  }

  std::unique_ptr<SimulatedDisk> file(Content content = {}) {
    SimulatedDiskOptions options;
    options.clone_block_bytes = 4096;
    return std::make_unique<SimulatedDisk>(*scheduler_, options, std::move(content));
  }

  std::unique_ptr<Disk> open(std::unique_ptr<Storage> storage, const char* format) {
    OpenOptions options;
    options.format = format;
    auto disk = loop_->run(open_disk(std::move(storage), std::move(options)));
    EXPECT_TRUE(disk) << disk.error().message();
    return std::move(*disk);
  }

  Content make(const Content& content, const Shape& shape, CopyOptions copy = {}) {
    const auto source = open(file(content), "raw");
    const auto target = file();
    ops::StableImageDisk disk(*target, header(source->size_bytes(), shape));
    EXPECT_TRUE(loop_->run(disk.begin()));
    const auto copied = loop_->run(copy_disks({source.get()}, disk, copy));
    EXPECT_TRUE(copied) << copied.error().message();
    const auto closed = loop_->run(disk.close());
    EXPECT_TRUE(closed) << closed.error().message();
    EXPECT_TRUE(loop_->run(source->close()));
    return target->running_image();
  }

  static CopyOptions with(Reflink reflink, unsigned requests = 8, bool out_of_order = false) {
    CopyOptions copy;
    copy.reflink = reflink;
    copy.parallel_requests = requests;
    copy.out_of_order = out_of_order;
    return copy;
  }

  void expect_image_of(const Content& image, const Content& content) {
    EXPECT_EQ(findings_of(*loop_, image), "");
    const auto disk = open(std::make_unique<MemoryStorage>(ConstBytes(image)), "qcow2");
    Content read(disk->size_bytes());
    const Bytes target(read);
    EXPECT_TRUE(loop_->run(disk->read(0, target)));
    read.resize(content.size());
    EXPECT_TRUE(read == content);
    EXPECT_TRUE(loop_->run(disk->close()));
  }

  // Of what is stored; all the same, or nothing.
  std::optional<std::uint64_t> data_start(const Content& image) {
    const auto disk = open(std::make_unique<MemoryStorage>(ConstBytes(image)), "qcow2");
    std::optional<std::uint64_t> start;
    bool same = true;
    for (std::uint64_t at = 0; at < disk->size_bytes(); at += disk->cluster_size_bytes()) {
      const auto status = loop_->run(disk->status(at, disk->cluster_size_bytes()));
      EXPECT_TRUE(status);
      if (!status || !status->host_offset_bytes) continue;
      same = same && (!start || *start == *status->host_offset_bytes - at);
      start = *status->host_offset_bytes - at;
    }
    EXPECT_TRUE(loop_->run(disk->close()));
    return same ? start : std::nullopt;
  }

  static Content patches(std::uint64_t size_bytes, std::uint64_t grain, std::uint64_t seed) {
    Content content(size_bytes);
    SimulatedRandom random(seed);
    for (std::uint64_t at = 0; at < size_bytes;) {
      const std::uint64_t end = std::min(size_bytes, at + grain * (1 + random.below(20)));
      const bool zero = random.one_in(2);
      for (; at < end; ++at) content[at] = zero ? std::byte{0} : static_cast<std::byte>(random.next() | 1);
    }
    return content;
  }

  SimulatedScheduler* scheduler_ = nullptr;
  std::unique_ptr<EventLoop> loop_;
};

TEST_F(StableImage, ReadsAsItsSourceIsSoundAndHasEachClusterAtItsPlace) {
  for (const std::uint64_t cluster : {512u, 4096u, 65536u, 2u << 20}) {
    for (const unsigned width : {1u, 2u, 8u, 16u, 64u}) {
      SCOPED_TRACE(fmt::format("cluster {}, width {}", cluster, width));
      const Shape shape{cluster, width};
      std::optional<std::uint64_t> start;
      for (const std::uint64_t seed : {1u, 2u}) {
        const Content content = patches(4 * mib + 5 * 512, 3000, cluster + width + seed);
        const Content image = make(content, shape);
        expect_image_of(image, content);
        const auto found = data_start(image);
        ASSERT_TRUE(found);
        EXPECT_EQ(*found % (4 * mib), 0u);
        EXPECT_TRUE(!start || *start == *found);
        start = found;
      }
    }
  }
}

TEST_F(StableImage, SmallAndEmptyDisksToo) {
  for (const std::uint64_t size : {0u, 512u, 65536u, 65536u + 512u}) {
    for (const std::byte value : {std::byte{0}, std::byte{7}}) {
      SCOPED_TRACE(size);
      const Content content(size, value);
      expect_image_of(make(content, {}), content);
    }
  }
}

TEST_F(StableImage, IsTheSameFileInAnyOrderAndWithSharedBlocks) {
  for (const std::uint64_t cluster : {4096u, 65536u}) {
    for (const std::uint64_t size : {9 * mib, 9 * mib + 4096, 9 * mib + 512}) {
      SCOPED_TRACE(fmt::format("cluster {}, size {}", cluster, size));
      const Content content = patches(size, 65536, cluster);
      const Content image = make(content, {cluster, 16}, with(Reflink::never, 1));
      EXPECT_TRUE(make(content, {cluster, 16}, with(Reflink::never, 16)) == image);
      EXPECT_TRUE(make(content, {cluster, 16}, with(Reflink::never, 16, true)) == image);
      const Content shared = make(content, {cluster, 16}, with(Reflink::automatic));
      expect_image_of(shared, content);
      EXPECT_EQ(data_start(shared), data_start(image));
    }
  }
}

// What was cloned last ends where its source does, or the hole there begins.
TEST_F(StableImage, TheFileHoldsTheLastClusterWhole) {
  Content content = patches(9 * mib, 65536, 5);
  std::fill(content.end() - 65536, content.end(), std::byte{0});
  std::fill_n(content.end() - 65536, 40960, std::byte{3});
  const Content image = make(content, {}, with(Reflink::never));
  const Content shared = make(content, {}, with(Reflink::automatic));
  EXPECT_EQ(shared.size(), image.size());
  expect_image_of(shared, content);
}

// Any size whose layout is within the limits: no part reaches into the next one, and all that may be used is counted.
TEST_F(StableImage, TheLayoutCountsWhateverMayBeUsed) {
  for (unsigned bits = 9; bits <= 21; ++bits) {
    for (unsigned order = 0; order <= 6; ++order) {
      for (std::uint64_t size = 1; size < std::uint64_t{1} << 44; size = size * 3 + 512) {
        format::Geometry geometry;
        geometry.cluster_bits = bits;
        geometry.refcount_order = order;
        const ops::Layout layout = ops::plan_stable_layout(geometry, size);
        ASSERT_EQ(layout.data_start().bytes % (4 * mib), 0u);
        ASSERT_LT(layout.extra, (4 * mib) >> bits);
        ASSERT_GE(layout.refcount_blocks * geometry.refcounts_per_block(), layout.total_clusters());
        ASSERT_GE(layout.refcount_table * geometry.refcount_table_entries_per_cluster(), layout.refcount_blocks);
        ASSERT_EQ(layout.l2_tables, geometry.required_l1_entries(size));
      }
    }
  }
}

}  // namespace
}  // namespace byre::test
