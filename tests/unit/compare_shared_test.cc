// What two images have from the same place of the same file is not read to be compared.

#include <gtest/gtest.h>

#include "byre/ops/compare.h"
#include "byre/ops/create.h"
#include "byre/ops/snapshot.h"
#include "byre/task/pollers.h"
#include "support/counting_storage.h"

namespace byre {
namespace {

using test::CountingStorage;

constexpr std::uint64_t KiB = 1 << 10;
constexpr std::uint64_t MiB = 1 << 20;

class CompareShared : public ::testing::Test {
 protected:
  using File = std::shared_ptr<CountingStorage::State>;

  File create(bool backed) {
    File file = std::make_shared<CountingStorage::State>();
    CreateOptions options;
    options.size_bytes = 4 * MiB;
    options.open_backing = false;
    if (backed) {
      options.backing_file = "below";
      options.backing_format = "qcow2";
    }
    CountingStorage storage(file);
    EXPECT_TRUE(loop_->run(create_qcow2(storage, options)));
    return file;
  }

  std::unique_ptr<Disk> open(const File& file, const File& below = nullptr, bool writable = false,
                             std::optional<std::string> snapshot = std::nullopt) {
    std::unique_ptr<Disk> layer = below ? open(below) : nullptr;
    OpenOptions options;
    options.format = "qcow2";
    options.writable = writable;
    options.snapshot = std::move(snapshot);
    auto disk = loop_->run(open_disk(std::make_unique<CountingStorage>(file), options, std::move(layer)));
    EXPECT_TRUE(disk) << disk.error().message();
    return std::move(*disk);
  }

  void fill(Disk& disk, std::uint64_t offset_bytes, std::uint64_t length_bytes, char value, bool compress = false) {
    const std::vector<std::byte> data(length_bytes, static_cast<std::byte>(value));
    const ConstBytes bytes = data;
    EXPECT_TRUE(loop_->run(compress ? disk.write_compressed(offset_bytes, bytes) : disk.write(offset_bytes, bytes)));
  }
  void take_snapshot(Disk& disk) {
    NewSnapshot snapshot;
    snapshot.name = "old";
    EXPECT_TRUE(loop_->run(create_snapshot(disk, snapshot)));
  }
  void close(Disk& disk) { EXPECT_TRUE(loop_->run(disk.close())); }

  // Where they differ; nothing if they do not.
  std::optional<std::uint64_t> compare(Disk& first, Disk& second) {
    const auto outcome = loop_->run(compare_disks(first, second, {}));
    EXPECT_TRUE(outcome);
    if (!outcome || outcome->difference == Difference::none) return std::nullopt;
    return outcome->offset_bytes;
  }

  std::unique_ptr<EventLoop> loop_ = *make_event_loop();
};

TEST_F(CompareShared, ReadsNoDataOfClustersThatASnapshotShares) {
  const File file = create(false);
  {
    const auto disk = open(file, nullptr, true);
    fill(*disk, 0, 2 * MiB, 'a');
    take_snapshot(*disk);
    fill(*disk, MiB, 64 * KiB, 'a');  // equal, but not shared any more
    close(*disk);
  }
  const auto now = open(file);
  const auto old = open(file, nullptr, false, "old");
  file->read_bytes = 0;
  EXPECT_EQ(compare(*now, *old), std::nullopt);
  EXPECT_GE(file->read_bytes, 128 * KiB);
  EXPECT_LT(file->read_bytes, 512 * KiB);
}

TEST_F(CompareShared, FindsADifferenceBehindWhatIsShared) {
  const File file = create(false);
  const auto disk = open(file, nullptr, true);
  fill(*disk, 0, 2 * MiB, 'a');
  take_snapshot(*disk);
  fill(*disk, MiB + 4096, 1, 'b');
  close(*disk);
  const auto now = open(file);
  const auto old = open(file, nullptr, false, "old");
  EXPECT_EQ(compare(*now, *old), MiB + 4096);
}

TEST_F(CompareShared, UnpacksNothingOfALayerBelowBoth) {
  const File below = create(false);
  {
    const auto disk = open(below, nullptr, true);
    for (std::uint64_t at = 0; at < MiB; at += 64 * KiB) fill(*disk, at, 64 * KiB, 'c', true);
    close(*disk);
  }
  const File one = create(true);
  const File other = create(true);
  const auto first = open(one, below);
  auto second = open(other, below, true);
  below->read_bytes = 0;
  EXPECT_EQ(compare(*first, *second), std::nullopt);
  const std::uint64_t tables = below->read_bytes;
  fill(*second, 512 * KiB, 64 * KiB, 'd');
  EXPECT_EQ(compare(*first, *second), 512 * KiB);
  close(*second);
  // The layer itself may be any state of its image: there, places decide.
  const auto alone = open(below);
  below->read_bytes = 0;
  EXPECT_EQ(compare(*first, *alone), std::nullopt);
  EXPECT_GT(below->read_bytes, tables);
}

TEST_F(CompareShared, TakesEqualPlacesOfDifferentFilesForDifferent) {
  const File files[] = {create(false), create(false)};
  for (const File& file : files) {
    const auto disk = open(file, nullptr, true);
    fill(*disk, 0, MiB, file == files[0] ? 'a' : 'b');
    close(*disk);
  }
  EXPECT_EQ(compare(*open(files[0]), *open(files[1])), 0u);
}

}  // namespace
}  // namespace byre
