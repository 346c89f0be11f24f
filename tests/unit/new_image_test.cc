// Images that are written from front to back: they hold what was written, are sound, and equal calls make equal files.

#include "data/new_image.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "byre/ops/create.h"
#include "byre/ops/snapshot.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"
#include "byre/task/sync.h"
#include "data/load.h"
#include "ops/new_image_copy.h"
#include "ops/state_copy.h"
#include "support/findings.h"

namespace byre::test {
namespace {

using Content = std::vector<std::byte>;

struct Shape {
  std::uint64_t cluster_bytes;
  unsigned refcount_bits;
  bool compress;
};

class NewImage : public testing::Test {
 protected:
  NewImage() : loop(std::move(*make_event_loop(IoMode::threads))) {}

  format::Header header(std::uint64_t size_bytes, const Shape& shape) {
    CreateOptions options;
    options.size_bytes = size_bytes;
    options.cluster_size_bytes = shape.cluster_bytes;
    options.refcount_bits = shape.refcount_bits;
    return *loop->run(ops::new_image_header(options));
  }

  // Every third cluster is left out, and every fifth does not compress.
  static Content pattern(std::uint64_t size_bytes, std::uint64_t cluster_bytes) {
    Content content(size_bytes);
    std::uint32_t noise = 1;
    for (std::size_t at = 0; at < size_bytes; ++at) {
      const std::uint64_t cluster = at / cluster_bytes;
      noise = noise * 1664525 + 1013904223;
      if (cluster % 3 == 0) continue;
      content[at] = cluster % 5 == 0 ? static_cast<std::byte>(noise >> 24) : static_cast<std::byte>(1 + cluster % 250);
    }
    return content;
  }

  static Task<Result<void>> fill(Disk& disk, const Content& content, const Shape& shape) {
    TaskGroup group;
    for (std::uint64_t at = 0; at < content.size(); at += shape.cluster_bytes) {
      if (at / shape.cluster_bytes % 3 == 0) continue;
      const ConstBytes data =
          ConstBytes(content).subspan(at, std::min<std::uint64_t>(shape.cluster_bytes, content.size() - at));
      group.start(shape.compress ? disk.write_compressed(at, data) : disk.write(at, data));
    }
    co_return co_await group.join();
  }

  Content make(const Content& content, const Shape& shape) {
    MemoryStorage memory;
    NewImageDisk disk(memory, header(content.size(), shape), true);
    EXPECT_TRUE(loop->run(disk.begin()));
    const auto filled = loop->run(fill(disk, content, shape));
    EXPECT_TRUE(filled) << filled.error().message();
    EXPECT_TRUE(loop->run(disk.close()));
    return memory.content();
  }

  Content read(const Content& image, std::optional<std::string> snapshot = std::nullopt) {
    OpenOptions options;
    options.format = "qcow2";
    options.snapshot = std::move(snapshot);
    auto disk = loop->run(open_disk(std::make_unique<MemoryStorage>(ConstBytes(image)), std::move(options)));
    EXPECT_TRUE(disk);
    if (!disk) return {};
    Content content((*disk)->size_bytes());
    const Bytes target(content);
    EXPECT_TRUE(loop->run((*disk)->read(0, target)));
    EXPECT_TRUE(loop->run((*disk)->close()));
    return content;
  }

  void expect_sound(const Content& image) { EXPECT_EQ(findings_of(*loop, image), ""); }

  std::unique_ptr<EventLoop> loop;
};

TEST_F(NewImage, HoldsWhatWasWrittenAndIsSound) {
  for (const Shape& shape : {Shape{512, 64, false}, Shape{512, 1, false}, Shape{512, 16, true}, Shape{4096, 16, false},
                             Shape{4096, 16, true}, Shape{65536, 2, true}, Shape{65536, 16, false}}) {
    SCOPED_TRACE(
        fmt::format("cluster {}, width {}, compressed {}", shape.cluster_bytes, shape.refcount_bits, shape.compress));
    const Content content = pattern(200 * shape.cluster_bytes + 512, shape.cluster_bytes);
    const Content image = make(content, shape);
    expect_sound(image);
    EXPECT_TRUE(read(image) == content);
    if (!shape.compress) {
      EXPECT_TRUE(make(content, shape) == image);
    }
  }
}

TEST_F(NewImage, TakesWholeClustersOnlyAndIsNoImageBeforeItIsClosed) {
  const Shape shape{4096, 16, false};
  MemoryStorage memory;
  NewImageDisk disk(memory, header(10000 * 512, shape), true);
  ASSERT_TRUE(loop->run(disk.begin()));
  const Content data(8192, std::byte{7});
  for (const auto& [offset, length] : {std::pair{512, 4096}, std::pair{4096, 4608}, std::pair{5119488, 4096}}) {
    const auto done = loop->run(
        disk.write(static_cast<std::uint64_t>(offset), ConstBytes(data).first(static_cast<std::size_t>(length))));
    ASSERT_FALSE(done) << offset;
    EXPECT_EQ(done.error().code(), ErrorCode::invalid_argument);
  }
  EXPECT_TRUE(loop->run(disk.write(4096, data)));
  EXPECT_FALSE(loop->run(read_header(memory, format::HeaderUse::read)));
  EXPECT_TRUE(loop->run(disk.close()));
  EXPECT_TRUE(loop->run(read_header(memory, format::HeaderUse::read)));
}

TEST_F(NewImage, OnceCancelledCompressesNothingMoreAndLetsNobodyWait) {
  const Shape shape{4096, 16, true};
  MemoryStorage memory;
  std::atomic<bool> cancel{false};
  const Content content = pattern(64 * shape.cluster_bytes, shape.cluster_bytes);
  NewImageDisk disk(memory, header(2 * content.size(), shape), true, &cancel);
  ASSERT_TRUE(loop->run(disk.begin()));
  ASSERT_TRUE(loop->run(fill(disk, content, shape)));
  const std::uint64_t written_bytes = memory.size_bytes();
  cancel = true;
  TaskGroup group;
  for (std::uint64_t cluster = 64; cluster < 80; ++cluster) {
    group.start(disk.write_compressed(cluster * shape.cluster_bytes, ConstBytes(content).first(shape.cluster_bytes)));
  }
  const auto done = loop->run(group.join());
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::cancelled);
  EXPECT_EQ(memory.size_bytes(), written_bytes);
}

// The engine makes an image with a snapshot and changes behind it; the copy shares what the image shares.
TEST_F(NewImage, KeepsStatesAndWhatTheyShare) {
  const Shape shape{4096, 16, false};
  const Content before = pattern(100 * shape.cluster_bytes, shape.cluster_bytes);
  auto storage = std::make_unique<MemoryStorage>(ConstBytes(make(before, shape)));
  MemoryStorage& memory = *storage;
  OpenOptions options;
  options.format = "qcow2";
  options.writable = true;
  auto source = loop->run(open_disk(std::move(storage), std::move(options)));
  ASSERT_TRUE(source);
  NewSnapshot snapshot;
  snapshot.name = "kept";
  ASSERT_TRUE(loop->run(create_snapshot(**source, snapshot)));
  Content after = before;
  std::fill_n(after.begin() + 20000, 50000, std::byte{9});
  ASSERT_TRUE(loop->run((*source)->write(20000, ConstBytes(after).subspan(20000, 50000))));
  ASSERT_TRUE(loop->run((*source)->close()));
  const Content image = memory.content();
  OpenOptions reading;
  reading.format = "qcow2";
  auto disk = loop->run(open_disk(std::make_unique<MemoryStorage>(ConstBytes(image)), std::move(reading)));
  ASSERT_TRUE(disk);
  for (const bool compress : {false, true}) {
    MemoryStorage target;
    CopyOptions copy;
    copy.compress = compress;
    ASSERT_TRUE(loop->run(ops::copy_states(dynamic_cast<Qcow2Disk&>(**disk), target, header(0, shape), copy)));
    const Content made = target.content();
    expect_sound(made);
    EXPECT_TRUE(read(made) == after);
    EXPECT_TRUE(read(made, "kept") == before);
    EXPECT_LE(made.size(), image.size());
  }
  EXPECT_TRUE(loop->run((*disk)->close()));
}

}  // namespace
}  // namespace byre::test
