// Lazy refcounts: when the dirty bit is written, how many syncs a flush takes, and what order they are in
// (docs/decisions/0011-lazy-refcounts.md).

#include <gtest/gtest.h>

#include <algorithm>

#include "byre/data/disk.h"
#include "byre/storage/simulated.h"
#include "format/header.h"
#include "support/fresh_image.h"
#include "support/snapshot_image.h"
#include "support/test_image.h"
#include "support/verify.h"

namespace byre::test {
namespace {

constexpr std::uint64_t cluster = 4096;
constexpr std::uint64_t incompatible_at = 72;

TestImage image_with(bool lazy) {
  TestImage test;
  test.image.geometry = {3, 12, 4};
  test.image.size_bytes = 8 << 20;  // four L2 tables
  test.image.lazy_refcounts = lazy;
  return test;
}

// One session on a simulated disk, which counts what it is asked for.
class Session {
 public:
  explicit Session(const TestImage& test) : Session(test, fresh_image(test.image)) {}
  Session(const TestImage& test, const std::vector<std::byte>& content, std::uint64_t seed = 1)
      : scheduler_(new SimulatedScheduler(seed)), loop_(std::unique_ptr<Poller>(scheduler_)) {
    SimulatedDiskOptions options;
    options.punch_may_do_nothing = true;
    options.flush_errors_stick = false;
    auto storage = std::make_unique<SimulatedDisk>(*scheduler_, options, content);
    storage_ = storage.get();
    storage->set_trace([this](const StorageEvent& event) {
      if (!event.completed) events_.push_back(event);
    });
    auto disk = loop_.run(open_image(std::move(storage), test, true));
    EXPECT_TRUE(disk.has_value()) << disk.error().message();
    if (disk) disk_ = std::move(*disk);
  }

  Disk& disk() { return *disk_; }
  SimulatedDisk& storage() { return *storage_; }
  const std::vector<std::byte>& image() const { return storage_->running_image(); }
  const std::vector<StorageEvent>& events() const { return events_; }
  bool dirty() const { return (std::to_integer<unsigned>(image()[incompatible_at + 7]) & 1) != 0; }

  Result<void> write(std::uint64_t offset, std::uint64_t length) {
    const std::vector<std::byte> data(length, std::byte{0x5a});
    const ConstBytes bytes(data);
    return loop_.run(disk_->write(offset, bytes));
  }
  Result<void> write_compressed(std::uint64_t offset) {
    const std::vector<std::byte> data(cluster, std::byte{1});
    const ConstBytes bytes(data);
    return loop_.run(disk_->write_compressed(offset, bytes));
  }
  Result<void> flush() { return loop_.run(disk_->flush()); }
  Result<void> run(Task<Result<void>> task) { return loop_.run(std::move(task)); }

  // Syncs that a flush takes.
  std::uint64_t flush_syncs() {
    const std::uint64_t before = syncs();
    EXPECT_TRUE(flush().has_value());
    return syncs() - before;
  }
  std::uint64_t syncs() const {
    return static_cast<std::uint64_t>(std::ranges::count(events_, StorageOperation::flush, &StorageEvent::operation));
  }

 private:
  SimulatedScheduler* scheduler_;  // owned by the loop
  EventLoop loop_;
  SimulatedDisk* storage_ = nullptr;  // owned by the disk
  std::vector<StorageEvent> events_;
  std::unique_ptr<Disk> disk_;
};

void make_table_and_extend(Session& session) {
  ASSERT_TRUE(session.write(0, cluster));
  ASSERT_TRUE(session.flush());
}

TEST(LazyRefcounts, AFlushOfNewClustersTakesOneSyncInsteadOfTwo) {
  for (const bool lazy : {false, true}) {
    Session session(image_with(lazy));
    make_table_and_extend(session);
    for (std::uint64_t i = 1; i < 20; ++i) {
      ASSERT_TRUE(session.write(i * cluster, cluster));
      ASSERT_EQ(session.flush_syncs(), lazy ? 1u : 2u) << i;
    }
    ASSERT_TRUE(session.run(session.disk().close()));
  }
}

TEST(LazyRefcounts, AFlushWithANewTableTakesTwoSyncsInsteadOfThree) {
  for (const bool lazy : {false, true}) {
    Session session(image_with(lazy));
    make_table_and_extend(session);
    ASSERT_TRUE(session.write(2 << 20, cluster));
    EXPECT_EQ(session.flush_syncs(), lazy ? 2u : 3u);
    ASSERT_TRUE(session.run(session.disk().close()));
  }
}

TEST(LazyRefcounts, AFlushOfADiscardTakesOneSyncInsteadOfTwo) {
  for (const bool lazy : {false, true}) {
    Session session(image_with(lazy));
    make_table_and_extend(session);
    ASSERT_TRUE(session.run(session.disk().discard(0, cluster)));
    EXPECT_EQ(session.flush_syncs(), lazy ? 1u : 2u);
    ASSERT_TRUE(session.run(session.disk().close()));
  }
}

// Not counted: a flush of nothing, and one of data in place.
TEST(LazyRefcounts, AFlushWithoutChangesOfTheMappingTakesOneSync) {
  for (const bool lazy : {false, true}) {
    Session session(image_with(lazy));
    make_table_and_extend(session);
    while (session.flush_syncs() > 1) continue;
    ASSERT_TRUE(session.write(512, 1024));
    EXPECT_EQ(session.flush_syncs(), 1u);
    EXPECT_EQ(session.flush_syncs(), 1u);
    ASSERT_TRUE(session.run(session.disk().close()));
  }
}

// A step is the cluster that did not fit and 64 more; the flush that extends takes the usual number.
TEST(LazyRefcounts, OneFlushInSixtyFiveExtendsTheFile) {
  Session session(image_with(true));
  make_table_and_extend(session);
  std::uint64_t dear = 0;
  for (std::uint64_t i = 1; i < 257; ++i) {
    ASSERT_TRUE(session.write(i * cluster, cluster));
    const std::uint64_t syncs = session.flush_syncs();
    ASSERT_GE(syncs, 1u);
    ASSERT_LE(syncs, 2u);
    dear += syncs - 1;
  }
  EXPECT_EQ(dear, 256u / 65u);
  ASSERT_TRUE(session.run(session.disk().close()));
}

// Where a lost write would show something else than the old content, the data goes first.
TEST(LazyRefcounts, ClustersThatHeldSomethingBeforeTakeTwoSyncs) {
  Session session(image_with(true));
  make_table_and_extend(session);
  ASSERT_TRUE(session.run(session.disk().discard(0, cluster)));
  ASSERT_TRUE(session.flush());  // the cluster is free again
  ASSERT_TRUE(session.write(cluster, cluster));
  EXPECT_EQ(session.flush_syncs(), 2u);
  ASSERT_TRUE(session.run(session.disk().close()));
}

TEST(LazyRefcounts, CompressedClustersTakeTwoSyncs) {
  Session session(image_with(true));
  make_table_and_extend(session);
  ASSERT_TRUE(session.write_compressed(4 * cluster));
  EXPECT_EQ(session.flush_syncs(), 2u);
  ASSERT_TRUE(session.run(session.disk().close()));
}

// What a failed flush had linked still decides on the order of the next.
void fail_one_flush(Session& session) {
  FaultPlan fault;
  fault.nth = 1;
  fault.only = StorageOperation::flush;
  session.storage().set_fault(fault);
  EXPECT_FALSE(session.flush());
  session.storage().set_fault({});
}

TEST(LazyRefcounts, CompressedClustersTakeTwoSyncsAfterAFlushThatFailed) {
  Session session(image_with(true));
  make_table_and_extend(session);
  ASSERT_TRUE(session.write_compressed(4 * cluster));
  fail_one_flush(session);
  EXPECT_EQ(session.flush_syncs(), 2u);
  ASSERT_TRUE(session.run(session.disk().close()));
}

TEST(LazyRefcounts, ClustersBehindTheDurableEndTakeTwoSyncsAfterAFlushThatFailed) {
  Session session(image_with(true));
  ASSERT_TRUE(session.write(0, cluster));  // with the sync of the table's L1 entry three
  fail_one_flush(session);
  EXPECT_EQ(session.flush_syncs(), 3u);
  ASSERT_TRUE(session.run(session.disk().close()));
}

TEST(LazyRefcounts, ClustersAboveABackingFileTakeTwoSyncs) {
  TestImage test = image_with(true);
  test.image.backing_name = "base";
  test.backing.assign(test.image.size_bytes, std::byte{7});
  Session session(test);
  make_table_and_extend(session);
  ASSERT_TRUE(session.write(4 * cluster, cluster));
  EXPECT_EQ(session.flush_syncs(), 2u);
  ASSERT_TRUE(session.run(session.disk().close()));
}

TEST(LazyRefcounts, ClustersThatReplaceSharedOnesTakeTwoSyncs) {
  const TestImage test = image_with(true);
  std::vector<std::byte> content;
  {
    Session session(test);
    make_table_and_extend(session);
    ASSERT_TRUE(session.run(session.disk().close()));
    content = session.image();
  }
  ASSERT_TRUE(add_snapshot(content, "1"));
  Session session(test, content);
  ASSERT_TRUE(session.write(8 * cluster, cluster));
  ASSERT_TRUE(session.flush());
  ASSERT_TRUE(session.write(0, cluster));
  EXPECT_EQ(session.flush_syncs(), 2u);
  ASSERT_TRUE(session.run(session.disk().close()));
}

TEST(LazyRefcounts, TheDirtyBitIsDurableBeforeTheFirstChangeOfTheMapping) {
  Session session(image_with(true));
  EXPECT_FALSE(session.dirty());
  ASSERT_TRUE(session.write(0, cluster));
  EXPECT_TRUE(session.dirty());
  const auto& events = session.events();
  const auto first = std::ranges::find(events, StorageOperation::write, &StorageEvent::operation);
  ASSERT_NE(first, events.end());
  EXPECT_EQ(first->offset_bytes, incompatible_at);
  EXPECT_EQ(first->length_bytes, 8u);
  ASSERT_NE(first + 1, events.end());
  EXPECT_EQ((first + 1)->operation, StorageOperation::flush);
  ASSERT_TRUE(session.run(session.disk().close()));
}

TEST(LazyRefcounts, ReadingAndWritingInPlaceLeaveTheBitAlone) {
  const TestImage test = image_with(true);
  std::vector<std::byte> content;
  {
    Session session(test);
    make_table_and_extend(session);
    ASSERT_TRUE(session.run(session.disk().close()));
    content = session.image();
  }
  Session session(test, content);
  ASSERT_TRUE(session.write(512, 1024));
  ASSERT_TRUE(session.flush());
  EXPECT_FALSE(session.dirty());
  ASSERT_TRUE(session.run(session.disk().close()));
}

TEST(LazyRefcounts, ACleanCloseClearsTheBitLastAndTrimsTheFile) {
  Session session(image_with(true));
  make_table_and_extend(session);
  const std::size_t long_file = session.image().size();
  ASSERT_TRUE(session.run(session.disk().close()));
  EXPECT_FALSE(session.dirty());
  EXPECT_LT(session.image().size(), long_file);
  EXPECT_EQ(session.image().size(), 6 * cluster);  // header, table, block, L1, L2, data
  EXPECT_TRUE(verify(session.image()).clean()) << verify(session.image()).text();
  const auto& events = session.events();
  ASSERT_GE(events.size(), 3u);
  EXPECT_EQ(events[events.size() - 3].operation, StorageOperation::resize);
  EXPECT_EQ(events[events.size() - 2].offset_bytes, incompatible_at);
  EXPECT_EQ(events[events.size() - 1].operation, StorageOperation::flush);
}

TEST(LazyRefcounts, TheBitStaysWhereCloseCouldNotWrite) {
  Session session(image_with(true));
  make_table_and_extend(session);
  ASSERT_TRUE(session.write(cluster, cluster));
  session.storage().set_fault({.nth = 1, .only = StorageOperation::write, .errno_value = 5, .for_ever = true});
  EXPECT_FALSE(session.run(session.disk().close()));
  EXPECT_TRUE(session.dirty());
}

TEST(LazyRefcounts, TheOneWhoOpensMayOverrideTheImage) {
  TestImage off = image_with(true);
  off.lazy_refcounts = false;
  Session eager(off);
  make_table_and_extend(eager);
  EXPECT_FALSE(eager.dirty());
  ASSERT_TRUE(eager.run(eager.disk().close()));

  TestImage on = image_with(false);
  on.lazy_refcounts = true;
  Session lazy(on);
  make_table_and_extend(lazy);
  EXPECT_TRUE(lazy.dirty());
  ASSERT_TRUE(lazy.run(lazy.disk().close()));
  EXPECT_FALSE(lazy.dirty());
}

TEST(LazyRefcounts, Version2RefusesThem) {
  TestImage test = image_with(false);
  test.image.geometry.version = 2;
  test.lazy_refcounts = true;
  auto* scheduler = new SimulatedScheduler(1);
  EventLoop loop{std::unique_ptr<Poller>(scheduler)};
  auto storage = std::make_unique<SimulatedDisk>(*scheduler, SimulatedDiskOptions(), fresh_image(test.image));
  const auto disk = loop.run(open_image(std::move(storage), test, true));
  ASSERT_FALSE(disk.has_value());
  EXPECT_EQ(disk.error().code(), ErrorCode::invalid_argument);
}

TEST(LazyRefcounts, ResizingHoldsTheDirtyBitAndGivesItBack) {
  for (const bool lazy : {false, true}) {
    Session session(image_with(lazy));
    ASSERT_TRUE(session.run(session.disk().resize(16 << 20, Preallocation::off)));
    EXPECT_EQ(session.dirty(), lazy);
    std::vector<std::uint64_t> marks;
    for (const StorageEvent& event : session.events()) {
      if (event.operation == StorageOperation::write && event.offset_bytes == incompatible_at) {
        marks.push_back(event.number);
      }
    }
    EXPECT_EQ(marks.size(), lazy ? 1u : 2u);
    ASSERT_TRUE(session.run(session.disk().close()));
    EXPECT_FALSE(session.dirty());
  }
}

// The file keeps its length where it cannot be cut, so what it holds there is old, not zeros.
TEST(LazyRefcounts, AFileThatCouldNotBeCutIsNotTakenForFresh) {
  for (std::uint64_t seed = 1; seed < 10; ++seed) {  // now and then a punch does nothing
    Session session(image_with(false), fresh_image(image_with(false).image), seed);
    ASSERT_TRUE(session.write(0, 16 * cluster));
    ASSERT_TRUE(session.flush());
    session.storage().set_fault({.nth = 1, .only = StorageOperation::resize, .errno_value = 5, .for_ever = true});
    ASSERT_TRUE(session.run(session.disk().resize(cluster, Preallocation::off)));
    ASSERT_TRUE(session.run(session.disk().resize(1 << 20, Preallocation::off)));
    ASSERT_TRUE(session.write(8 * cluster, 512));
    std::vector<std::byte> content(cluster);
    const Bytes target(content);
    ASSERT_TRUE(session.run(session.disk().read(8 * cluster, target)));
    ASSERT_EQ(std::ranges::count(content, std::byte{0x5a}), 512) << seed;
    ASSERT_TRUE(session.run(session.disk().close()));
  }
}

}  // namespace
}  // namespace byre::test
