// Autoclear bits promise what a change may break (docs/format.md sections 4.3 and 23): they are cleared, and durably
// so, before the first change of anything else (O-19), and stay as long as nothing is changed (H-7).

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "byre/data/disk.h"
#include "byre/ops/compact.h"
#include "byre/storage/simulated.h"
#include "byre/task/sync.h"
#include "support/image_builder.h"

namespace byre {
namespace {

using test::ImageBuilder;

constexpr std::uint64_t incompatible_at = 72;
constexpr std::uint64_t autoclear_at = 88;
constexpr std::uint64_t damaged_cluster = 7;

bool changes(StorageOperation operation) {
  return operation != StorageOperation::read && operation != StorageOperation::flush;
}

// One session on a simulated disk, and everything that was submitted to it and completed.
class Session {
 public:
  explicit Session(const std::vector<std::byte>& image, bool writable = true)
      : scheduler_(new SimulatedScheduler(1)), loop_(std::unique_ptr<Poller>(scheduler_)) {
    auto storage = std::make_unique<SimulatedDisk>(*scheduler_, SimulatedDiskOptions(), image);
    storage->set_trace([this](const StorageEvent& event) { events_.push_back(event); });
    storage_ = storage.get();
    OpenOptions options;
    options.format = "qcow2";
    options.writable = writable;
    auto disk = loop_.run(open_disk(std::move(storage), options));
    EXPECT_TRUE(disk.has_value()) << disk.error().message();
    if (disk) disk_ = std::move(*disk);
  }

  Disk& disk() { return *disk_; }
  template <class T>
  T run(Task<T> task) {
    return loop_.run(std::move(task));
  }
  std::uint64_t load64(std::uint64_t at) const { return load_be64(storage_->running_image().data() + at); }
  const std::vector<std::byte>& image() const { return storage_->running_image(); }

  bool changed_anything() const {
    return std::ranges::any_of(events_, [](const StorageEvent& event) { return changes(event.operation); });
  }

  // The first change writes the autoclear features, and nothing else is begun before a flush of it has ended.
  testing::AssertionResult cleared_first() const {
    const auto first = std::ranges::find_if(events_, [](const auto& event) { return changes(event.operation); });
    if (first == events_.end()) return testing::AssertionFailure() << "nothing was changed";
    if (first->operation != StorageOperation::write || first->offset_bytes != autoclear_at ||
        first->length_bytes != 8) {
      return testing::AssertionFailure() << fmt::format("the first change is of {} bytes at {}", first->length_bytes,
                                                        first->offset_bytes);
    }
    bool written = false;
    for (auto event = first + 1; event != events_.end(); ++event) {
      if (event->number == first->number) written = event->completed && !event->failed;
      if (written && event->operation == StorageOperation::flush && event->completed) {
        return testing::AssertionSuccess();
      }
      if (changes(event->operation) && event->number != first->number) break;
    }
    return testing::AssertionFailure() << "another change was begun before the bits were durably cleared";
  }

 private:
  SimulatedScheduler* scheduler_;  // owned by the loop
  EventLoop loop_;
  SimulatedDisk* storage_ = nullptr;  // owned by the disk
  std::vector<StorageEvent> events_;
  std::unique_ptr<Disk> disk_;
};

struct Bits {
  std::string_view name;
  std::uint64_t raw;
  bool with_bitmap;
};

// A valid bitmap beside the data.
void add_bitmap(ImageBuilder& image) {
  format::BitmapEntry entry;
  entry.table = HostOffset(image.add_clusters(1));
  entry.table_entries = 1;
  entry.name = "bitmap";
  const auto directory = *format::encode_bitmap_directory({entry}, image.geometry());
  const format::BitmapsExtension extension{1, 0, directory.size(), HostOffset(image.add_content(directory))};
  image.add_extension(0x23852875, format::encode_bitmaps_extension(extension));
}

class Autoclear : public testing::TestWithParam<Bits> {
 protected:
  static std::vector<std::byte> image() {
    ImageBuilder image = test::sample_image();
    if (GetParam().with_bitmap) add_bitmap(image);
    image.set_l2(damaged_cluster, 1 << 5);  // reserved bits
    image.put64(autoclear_at, GetParam().raw);
    return image.take();
  }
};

using Change = std::function<Task<Result<void>>(Disk&)>;

const std::vector<std::byte>& cluster() {
  static const std::vector<std::byte> bytes(4096, std::byte{0x77});
  return bytes;
}

struct NamedChange {
  std::string_view name;
  Change make;
};

const std::vector<NamedChange>& all_changes() {
  static const std::vector<NamedChange> all = {
      {"write in place", [](Disk& disk) { return disk.write(512, ConstBytes(cluster()).first(512)); }},
      {"write that allocates", [](Disk& disk) { return disk.write(1 << 20, cluster()); }},
      {"write over zeros", [](Disk& disk) { return disk.write(3 * 4096, cluster()); }},
      {"compressed write", [](Disk& disk) { return disk.write_compressed(2 << 20, cluster()); }},
      {"zeroes that keep", [](Disk& disk) { return disk.write_zeroes(0, 4096, ZeroMode::keep); }},
      {"zeroes that unmap", [](Disk& disk) { return disk.write_zeroes(0, 4096, ZeroMode::unmap); }},
      {"zeroes in part of a cluster", [](Disk& disk) { return disk.write_zeroes(100, 50, ZeroMode::unmap); }},
      {"discard", [](Disk& disk) { return disk.discard(0, 8192); }},
      {"growing", [](Disk& disk) { return disk.resize(disk.size_bytes() + 4096, Preallocation::off); }},
      {"shrinking", [](Disk& disk) { return disk.resize(disk.size_bytes() - 4096, Preallocation::off); }},
  };
  return all;
}

TEST_P(Autoclear, ClearsTheBitsDurablyBeforeTheFirstOtherChange) {
  for (const NamedChange& change : all_changes()) {
    SCOPED_TRACE(change.name);
    Session session(image());
    const auto done = session.run(change.make(session.disk()));
    EXPECT_TRUE(done.has_value()) << done.error().message();
    EXPECT_TRUE(session.run(session.disk().close()).has_value());
    EXPECT_TRUE(session.cleared_first());
    EXPECT_EQ(session.load64(autoclear_at), 0u);
  }
}

// Two changes at once, in whatever order their I/O ends.
TEST_P(Autoclear, HoldsBackEveryRequestUntilTheBitsAreCleared) {
  Session session(image());
  TaskGroup group;
  for (const NamedChange& change : all_changes()) {
    // Nothing else may run beside a change of the size.
    if (change.name != "growing" && change.name != "shrinking") group.start(change.make(session.disk()));
  }
  [[maybe_unused]] const auto done = session.run(group.join());
  EXPECT_TRUE(session.run(session.disk().close()).has_value());
  EXPECT_TRUE(session.cleared_first());
}

TEST_P(Autoclear, ReadersLeaveTheBits) {
  const std::vector<std::byte> before = image();
  Session session(before, false);
  std::vector<std::byte> all(session.disk().size_bytes() / 2);
  [[maybe_unused]] const auto read = session.run(session.disk().read(0, all));
  EXPECT_TRUE(session.run(session.disk().flush()).has_value());
  EXPECT_TRUE(session.run(session.disk().close()).has_value());
  EXPECT_FALSE(session.changed_anything());
}

TEST_P(Autoclear, AWriterThatChangesNothingLeavesTheBits) {
  Session session(image());
  Disk& disk = session.disk();
  std::vector<std::byte> some(4096);
  EXPECT_TRUE(session.run(disk.read(0, some)).has_value());
  EXPECT_TRUE(session.run(disk.status(0, disk.size_bytes())).has_value());
  EXPECT_TRUE(session.run(disk.write(0, ConstBytes())).has_value());
  EXPECT_TRUE(session.run(disk.write_zeroes(0, 0, ZeroMode::unmap)).has_value());
  EXPECT_TRUE(session.run(disk.discard(100, 50)).has_value());
  EXPECT_TRUE(session.run(disk.resize(disk.size_bytes(), Preallocation::off)).has_value());
  EXPECT_TRUE(session.run(disk.flush()).has_value());
  EXPECT_TRUE(session.run(disk.close()).has_value());
  EXPECT_FALSE(session.changed_anything());
  EXPECT_EQ(session.load64(autoclear_at), GetParam().raw);
}

// The corrupt bit is a change too; one write of one sector carries both.
TEST_P(Autoclear, ClearsTheBitsWithTheCorruptBitThatAReadSets) {
  Session session(image());
  std::vector<std::byte> some(512);
  EXPECT_FALSE(session.run(session.disk().read(damaged_cluster * 4096, some)).has_value());
  EXPECT_EQ(session.load64(incompatible_at), format::incompatible::corrupt);
  EXPECT_EQ(session.load64(autoclear_at), 0u);
  const std::vector<std::byte> marked = session.image();
  EXPECT_FALSE(session.run(session.disk().write(0, some)).has_value());
  EXPECT_TRUE(session.run(session.disk().close()).has_value());
  EXPECT_EQ(session.image(), marked);
}

// Freeing leaks is the work of the checker, but for compacting it is the first change.
TEST(AutoclearOfCompacting, ClearsTheBitsDurablyBeforeLeaksAreFreed) {
  ImageBuilder image = test::sample_image();
  image.add_clusters(2);  // counted, and nothing refers to them
  image.put64(autoclear_at, std::uint64_t{1} << 63 | 0x10);
  Session session(image.take());
  const auto done = session.run(compact_disk(session.disk(), {}));
  EXPECT_TRUE(done.has_value()) << done.error().message();
  EXPECT_TRUE(session.run(session.disk().close()).has_value());
  EXPECT_TRUE(session.cleared_first());
  EXPECT_EQ(session.load64(autoclear_at), 0u);
}

INSTANTIATE_TEST_SUITE_P(Bits, Autoclear,
                         testing::Values(Bits{"OfBitmapsInOrder", format::autoclear::bitmaps, true},
                                         Bits{"OfBitmapsWithoutExtension", format::autoclear::bitmaps, false},
                                         Bits{"Unknown", std::uint64_t{1} << 63 | 0x10, false},
                                         Bits{"UnknownBesideBitmaps", 0x11, true},
                                         Bits{"Every", ~std::uint64_t{0}, false}),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

}  // namespace
}  // namespace byre
