// Copies that share blocks with their sources: they read as other copies, are the same file, and where something cannot
// be shared it is copied, or said. On the simulated disk zeros are never stored, so that there is no difference at all.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>

#include "base/math.h"
#include "byre/ops/copy.h"
#include "byre/ops/create.h"
#include "byre/ops/snapshot.h"
#include "byre/storage/memory.h"
#include "byre/storage/simulated.h"
#include "data/new_image.h"
#include "ops/new_image_copy.h"
#include "ops/state_copy.h"
#include "support/findings.h"
#include "support/sanitized.h"

namespace byre::test {
namespace {

using Content = std::vector<std::byte>;
constexpr std::uint64_t block = 4096;

struct Target {
  std::uint64_t cluster_bytes = 65536;  // 0: raw
  CopyOptions copy;
};

struct Outcome {
  Result<void> copied;
  Content file;
  std::uint64_t clones = 0;  // that were tried
};

class SharedCopy : public testing::Test {
 protected:
  SharedCopy() {
    auto scheduler = std::make_unique<SimulatedScheduler>(1);
    scheduler_ = scheduler.get();
    loop_ = std::make_unique<EventLoop>(std::move(scheduler));
  }

  std::unique_ptr<SimulatedDisk> file(Content content = {}, std::string name = "source.file") {
    SimulatedDiskOptions options;
    options.clone_block_bytes = block;
    options.name = std::move(name);
    return std::make_unique<SimulatedDisk>(*scheduler_, options, std::move(content));
  }

  // Counts what is read of it.
  std::unique_ptr<SimulatedDisk> watched(Content content) {
    auto disk = file(std::move(content));
    disk->set_trace([this](const StorageEvent& event) {
      if (event.operation == StorageOperation::read && event.completed) read_bytes_ += event.length_bytes;
    });
    return disk;
  }

  std::unique_ptr<Disk> open(std::unique_ptr<Storage> storage, const char* format,
                             std::unique_ptr<Disk> backing = nullptr) {
    OpenOptions options;
    options.format = format;
    auto disk = loop_->run(open_disk(std::move(storage), std::move(options), std::move(backing)));
    EXPECT_TRUE(disk) << disk.error().message();
    return std::move(*disk);
  }

  static Task<Result<format::Header>> header(std::uint64_t size_bytes, std::uint64_t cluster_bytes) {
    CreateOptions options;
    options.size_bytes = size_bytes;
    options.cluster_size_bytes = cluster_bytes;
    options.refcount_bits = 64;  // many refcount blocks, which come between the clusters
    co_return co_await ops::new_image_header(options);
  }

  static Task<Result<void>> copy_to_image(std::vector<Disk*> sources, Storage& storage, Target target) {
    BYRE_CO_TRY(format::Header made, co_await header(copy_size_bytes(sources), target.cluster_bytes));
    NewImageDisk disk(storage, std::move(made), !target.copy.out_of_order);
    BYRE_CO_CHECK(co_await disk.begin());
    BYRE_CO_CHECK(co_await copy_disks(std::move(sources), disk, target.copy));
    co_return co_await disk.close();
  }

  static Task<Result<void>> copy_to_raw(std::vector<Disk*> sources, std::unique_ptr<Storage> storage, Target target) {
    BYRE_CO_CHECK(co_await storage->resize(copy_size_bytes(sources)));
    OpenOptions options;
    options.format = "raw";
    options.writable = true;
    BYRE_CO_TRY(const std::unique_ptr<Disk> disk, co_await open_disk(std::move(storage), std::move(options)));
    co_return co_await copy_disks(std::move(sources), *disk, target.copy);
  }

  // The disk with all its snapshots.
  static Task<Result<void>> copy_all(Disk& source, Storage& storage, Target target) {
    BYRE_CO_TRY(format::Header made, co_await header(0, target.cluster_bytes));
    co_return co_await ops::copy_states(dynamic_cast<Qcow2Disk&>(source), storage, std::move(made), target.copy);
  }

  std::unique_ptr<SimulatedDisk> target_file(Outcome& outcome, FaultPlan fault) {
    auto storage = file({}, "target.file");
    fault.only = StorageOperation::clone;
    storage->set_fault(fault);
    storage->set_trace([&outcome, disk = storage.get()](const StorageEvent& event) {
      if (event.operation == StorageOperation::clone && !event.completed) ++outcome.clones;
      if (event.completed) outcome.file = disk->running_image();
    });
    return storage;
  }

  Outcome copy(const std::vector<Disk*>& sources, const Target& target, FaultPlan fault = {}) {
    Outcome outcome;
    auto storage = target_file(outcome, fault);
    if (target.cluster_bytes == 0) {
      outcome.copied = loop_->run(copy_to_raw(sources, std::move(storage), target));
    } else {
      outcome.copied = loop_->run(copy_to_image(sources, *storage, target));
    }
    return outcome;
  }

  Outcome copy_with_snapshots(Disk& source, const Target& target, FaultPlan fault = {}) {
    Outcome outcome;
    const auto storage = target_file(outcome, fault);
    outcome.copied = loop_->run(copy_all(source, *storage, target));
    return outcome;
  }

  // Two snapshots, with changes behind each.
  std::unique_ptr<Disk> with_snapshots(std::unique_ptr<SimulatedDisk> storage, SimulatedRandom& random) {
    SimulatedDisk& kept = *storage;
    OpenOptions options;
    options.format = "qcow2";
    options.writable = true;
    const auto disk = loop_->run(open_disk(std::move(storage), std::move(options)));
    EXPECT_TRUE(disk);
    for (const char* name : {"one", "two"}) {
      NewSnapshot snapshot;
      snapshot.name = name;
      EXPECT_TRUE(loop_->run(create_snapshot(**disk, snapshot)));
      for (int i = 0; i < 5; ++i) {
        const Content data = noise(512 + random.below(300000), random.next());
        EXPECT_TRUE(loop_->run((*disk)->write(random.below((*disk)->size_bytes() - data.size()), data)));
      }
    }
    EXPECT_TRUE(loop_->run((*disk)->flush()));
    const Content content = kept.running_image();
    EXPECT_TRUE(loop_->run((*disk)->close()));
    return open(file(content), "qcow2");
  }

  static Target with(Reflink reflink, std::uint64_t cluster_bytes = 65536) {
    Target target;
    target.cluster_bytes = cluster_bytes;
    target.copy.reflink = reflink;
    return target;
  }

  void expect_sound(const Content& image) { EXPECT_EQ(findings_of(*loop_, image), ""); }

  Content read(Disk& disk) {
    Content content(disk.size_bytes());
    const Bytes target(content);
    EXPECT_TRUE(loop_->run(disk.read(0, target)));
    return content;
  }

  static Content noise(std::uint64_t size_bytes, std::uint64_t seed = 1) {
    Content content(size_bytes);
    SimulatedRandom random(seed);
    for (std::byte& byte : content) byte = static_cast<std::byte>(random.next() | 1);
    return content;
  }

  // Stretches of bytes and of zeros, of very different lengths, at multiples of `grain`.
  static Content patches(std::uint64_t size_bytes, std::uint64_t grain, SimulatedRandom& random) {
    Content content(size_bytes);
    for (std::uint64_t at = 0; at < size_bytes;) {
      const std::uint64_t length = grain << random.below(10);
      const std::uint64_t end = std::min(size_bytes, at + length);
      const auto value = static_cast<std::byte>(random.one_in(3) ? 0 : 1 + random.below(255));
      std::fill(content.begin() + static_cast<std::ptrdiff_t>(at), content.begin() + static_cast<std::ptrdiff_t>(end),
                value);
      at = end;
    }
    return content;
  }

  SimulatedScheduler* scheduler_ = nullptr;
  std::unique_ptr<EventLoop> loop_;
  std::uint64_t read_bytes_ = 0;
};

TEST_F(SharedCopy, IsTheSameFileAndReadsNothingOfARawSource) {
  Content content = noise(9 << 20);
  std::fill_n(content.begin(), 300 << 10, std::byte{0});  // refcount blocks end inside a run
  const auto source = open(watched(content), "raw");
  for (const std::uint64_t cluster : {0u, 4096u, 65536u, 1u << 20}) {
    SCOPED_TRACE(cluster);
    const Outcome copied = copy({source.get()}, with(Reflink::never, cluster));
    ASSERT_TRUE(copied.copied);
    EXPECT_EQ(copied.clones, 0u);
    read_bytes_ = 0;
    const Outcome shared = copy({source.get()}, with(Reflink::automatic, cluster));
    ASSERT_TRUE(shared.copied) << shared.copied.error().message();
    EXPECT_EQ(read_bytes_, 0u);
    EXPECT_GT(shared.clones, 1u);
    EXPECT_TRUE(shared.file == copied.file);
  }
}

// Sources raw and qcow2, of all grains, with compressed clusters, and all of it again as an overlay over a base.
TEST_F(SharedCopy, IsTheSameFileWhateverTheSourceIsMadeOf) {
  std::uint64_t clones = 0;
  for (std::uint64_t seed = 1; seed <= examples(60); ++seed) {
    SCOPED_TRACE(seed);
    SimulatedRandom random(seed);
    const Content content = patches((2 << 20) + 512 * random.below(3000), 512u << random.below(5), random);
    auto source = open(file(content), "raw");
    if (!random.one_in(3)) {
      Target made = with(Reflink::never, 512u << random.below(9));
      made.copy.compress = random.one_in(4);
      source = open(file(copy({source.get()}, made).file), "qcow2");
    }
    ASSERT_TRUE(read(*source) == content);
    Target target = with(Reflink::never, random.one_in(3) ? 0u : 4096u << random.below(10));
    target.copy.out_of_order = target.cluster_bytes == 0 && random.one_in(2);
    const Outcome copied = copy({source.get()}, target);
    target.copy.reflink = Reflink::automatic;
    const Outcome shared = copy({source.get()}, target);
    ASSERT_TRUE(shared.copied) << shared.copied.error().message();
    EXPECT_TRUE(shared.file == copied.file);
    if (target.cluster_bytes != 0) expect_sound(shared.file);
    clones += shared.clones;
  }
  EXPECT_GT(clones, examples(200));
}

TEST_F(SharedCopy, OfAllSnapshotsIsTheSameFileToo) {
  std::uint64_t clones = 0;
  for (std::uint64_t seed = 1; seed <= examples(20); ++seed) {
    SCOPED_TRACE(seed);
    SimulatedRandom random(seed);
    const auto raw = open(file(patches((2 << 20) + 512 * random.below(3000), 4096, random)), "raw");
    const std::uint64_t cluster = 4096u << random.below(7);
    auto image = file(copy({raw.get()}, with(Reflink::never, cluster)).file);
    const auto source = with_snapshots(std::move(image), random);
    const std::uint64_t target_cluster = 4096u << random.below(7);
    const Outcome copied = copy_with_snapshots(*source, with(Reflink::never, target_cluster));
    ASSERT_TRUE(copied.copied) << copied.copied.error().message();
    for (const Reflink reflink : {Reflink::automatic, Reflink::always}) {
      const Outcome shared = copy_with_snapshots(*source, with(reflink, target_cluster));
      ASSERT_TRUE(shared.copied) << shared.copied.error().message();
      EXPECT_TRUE(shared.file == copied.file);
      clones += shared.clones;
    }
    expect_sound(copied.file);
    const FaultPlan none{.nth = 1, .only = {}, .errno_value = EOPNOTSUPP, .for_ever = true};
    EXPECT_TRUE(copy_with_snapshots(*source, with(Reflink::automatic, target_cluster), none).file == copied.file);
    EXPECT_FALSE(copy_with_snapshots(*source, with(Reflink::always, target_cluster), none).copied);
  }
  EXPECT_GT(clones, examples(500));
}

TEST_F(SharedCopy, CopiesWhereTheFileSystemCannotShare) {
  SimulatedRandom random(1);
  const Content content = patches(5 << 20, 4096, random);
  const auto source = open(file(content), "raw");
  for (const int errno_value : {EOPNOTSUPP, EXDEV, ENOSPC}) {
    const FaultPlan fault{.nth = 1, .only = {}, .errno_value = errno_value, .for_ever = true};
    const Outcome copied = copy({source.get()}, with(Reflink::never));
    const Outcome outcome = copy({source.get()}, with(Reflink::automatic), fault);
    ASSERT_TRUE(outcome.copied) << outcome.copied.error().message();
    EXPECT_EQ(outcome.clones, 1u) << "asked once";
    EXPECT_TRUE(outcome.file == copied.file);
  }
}

TEST_F(SharedCopy, SaysWhatKeepsItFromSharingWhereItMust) {
  const auto source = open(file(noise(1 << 20)), "raw");
  const FaultPlan fault{.nth = 1, .only = {}, .errno_value = EOPNOTSUPP, .for_ever = true};
  const auto expect = [](const Outcome& outcome, std::string_view name, std::string_view reason) {
    ASSERT_FALSE(outcome.copied);
    EXPECT_EQ(outcome.copied.error().code(), ErrorCode::unsupported);
    const std::string& message = outcome.copied.error().message();
    EXPECT_NE(message.find(name), std::string::npos) << message;
    EXPECT_NE(message.find(reason), std::string::npos) << message;
  };
  expect(copy({source.get()}, with(Reflink::always), fault), "target.file", "not supported");
  expect(copy({source.get()}, with(Reflink::always, 512)), "target.file", "clusters of 512 bytes");
  const auto odd = open(file(noise(512)), "raw");
  expect(copy({odd.get(), source.get()}, with(Reflink::always)), "target.file", "at byte 512");
  const auto fine = open(file(copy({source.get()}, with(Reflink::never, 1024)).file), "qcow2");
  expect(copy({fine.get()}, with(Reflink::always)), "source.file", "clusters of 1024 bytes");
  const auto elsewhere = open(std::make_unique<MemoryStorage>(noise(1 << 20), "elsewhere"), "raw");
  expect(copy({elsewhere.get()}, with(Reflink::always)), "elsewhere", "cannot share");
}

TEST_F(SharedCopy, ReportsWhatFailsOnceSharingIsUnderWay) {
  const auto source = open(file(noise(9 << 20)), "raw");
  for (const auto& [errno_value, code] : {std::pair{ENOSPC, ErrorCode::no_space}, std::pair{EIO, ErrorCode::io}}) {
    for (const std::uint64_t nth : {2u, 3u}) {
      const FaultPlan fault{.nth = nth, .only = {}, .errno_value = errno_value};
      const Outcome outcome = copy({source.get()}, with(Reflink::automatic, 4096), fault);
      ASSERT_FALSE(outcome.copied);
      EXPECT_EQ(outcome.copied.error().code(), code);
    }
  }
}

// The base's storage is another one, of a kind that can share or not.
TEST_F(SharedCopy, TakesEachPieceFromItsLayer) {
  for (const bool base_can : {true, false}) {
    SCOPED_TRACE(base_can);
    const Content below = noise(4 << 20, 2);
    std::unique_ptr<Storage> base = base_can ? std::unique_ptr<Storage>(file(below, "base.file"))
                                             : std::make_unique<MemoryStorage>(below, "base.file");
    auto overlay = file();
    CreateOptions options;
    options.size_bytes = below.size();
    options.backing_file = "base.file";
    options.backing_format = "raw";
    ASSERT_TRUE(loop_->run(create_qcow2(*overlay, options)));
    OpenOptions opening;
    opening.format = "qcow2";
    opening.writable = true;
    const auto source = loop_->run(open_disk(std::move(overlay), std::move(opening), open(std::move(base), "raw")));
    ASSERT_TRUE(source);
    const Content above = noise(1 << 20, 3);
    ASSERT_TRUE(loop_->run((*source)->write(1 << 20, above)));
    const Outcome copied = copy({source->get()}, with(Reflink::never));
    const Outcome shared = copy({source->get()}, with(Reflink::automatic));
    ASSERT_TRUE(shared.copied) << shared.copied.error().message();
    EXPECT_GE(shared.clones, base_can ? 5u : 2u);
    EXPECT_TRUE(shared.file == copied.file);
    EXPECT_TRUE(read(*open(file(shared.file), "qcow2")) == read(**source));
    ASSERT_TRUE(loop_->run((*source)->close()));
  }
}

TEST_F(SharedCopy, LooksForZerosWhereThatIsAskedFor) {
  const auto source = open(file(noise(4 << 20)), "raw");
  Target target = with(Reflink::automatic);
  target.copy.sparse_bytes = 0;
  EXPECT_EQ(copy({source.get()}, target).clones, 0u);
  target = with(Reflink::automatic);
  target.copy.compress = true;
  EXPECT_EQ(copy({source.get()}, target).clones, 0u);
  EXPECT_EQ(copy({source.get()}, with(Reflink::never)).clones, 0u);
}

}  // namespace
}  // namespace byre::test
