// Repairs that are cut off: at every moment of a repair the power may go. What is then on the disk must be such that
// another repair completes it, that nothing which could be read before is lost, and that the undo file, as far as it is
// on its disk, gives back the damaged image byte for byte. The same with an I/O that fails.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "byre/check/check.h"
#include "byre/data/disk.h"
#include "byre/storage/memory.h"
#include "byre/storage/simulated.h"
#include "support/damaged_images.h"
#include "support/verify.h"

namespace byre::test {
namespace {

constexpr std::uint64_t clusters_read = 12;
using Content = std::vector<std::byte>;

class CutOffRepair {
 public:
  CutOffRepair(const DamagedImage& image, std::uint64_t seed)
      : image_(image), random_(seed), before_(read(image.whole)), loop_(make_loop(seed)) {
    SimulatedDiskOptions options;
    options.sector_bytes = random_.one_in(2) ? 512 : 4096;
    disk_ = std::make_unique<SimulatedDisk>(*scheduler_, options, image.bytes);
    options.name = "undo";
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));  // nothing waits on memory
    MemoryStorage storage{ConstBytes(image.bytes)};
    most_uncounted_ = uncounted(loop, storage);
    undo_ = std::make_unique<SimulatedDisk>(*scheduler_, options);
  }

  // Returns the number of I/O operations on the image, or what is wrong.
  std::uint64_t run(unsigned crash_one_in, FaultPlan fault = {}) {
    disk_->set_fault(fault);
    scheduler_->set_before_pick([this, crash_one_in] {
      if (failure_.empty() && random_.one_in(crash_one_in)) examine_crash();
    });
    CheckOptions options;
    options.repair = Repair::all;
    options.undo = undo_.get();
    const auto report = loop_->run(check_image(*disk_, options));
    scheduler_->set_before_pick(nullptr);
    if (fault.nth == 0 && !(report && report->clean())) fail("the repair does not succeed");
    disk_->set_fault({});
    examine(disk_->running_image(), undo_->running_image(), "at the end");
    return disk_->operation_count();
  }

  const std::string& failure() const { return failure_; }
  std::uint64_t crash_states() const { return crash_states_; }

 private:
  std::unique_ptr<EventLoop> make_loop(std::uint64_t seed) {
    auto scheduler = std::make_unique<SimulatedScheduler>(seed);
    scheduler_ = scheduler.get();
    return std::make_unique<EventLoop>(std::move(scheduler));
  }

  // What would be handed out although it is in use. (Other findings may rise in between: a count is put right before
  // the flags that follow it.)
  static std::uint64_t uncounted(EventLoop& loop, Storage& storage) {
    std::uint64_t count = 0;
    CheckOptions options;
    options.on_finding = [&count](const Finding& finding) {
      if (finding.text.find(" refcount=0 ") != std::string::npos) ++count;
    };
    const auto report = loop.run(check_image(storage, options));
    return report ? count : ~std::uint64_t{0};
  }

  void fail(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
  }

  void examine_crash() {
    ++crash_states_;
    const CrashMode mode = random_.one_in(2) ? CrashMode::random_subset : CrashMode::prefix_in_order;
    const Content image = disk_->crash_image(random_, mode);
    const Content undo = undo_->crash_image(random_, mode);
    examine(image, undo, fmt::format("crash state {}", crash_states_));
  }

  void examine(const Content& image, const Content& undo, const std::string& where) {
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));  // nothing waits on memory
    MemoryStorage storage{ConstBytes(image)};
    MemoryStorage undo_storage{ConstBytes(undo)};
    if (const auto done = loop.run(apply_undo(storage, undo_storage)); done) {
      if (storage.content() != image_.bytes) fail(where + ": taking it back gives another image");
    } else if (!std::equal(image_.bytes.begin(), image_.bytes.end(), image.begin())) {
      fail(where + ": changed, but cannot be taken back: " + done.error().message());
    }
    MemoryStorage again{ConstBytes(image)};
    CheckOptions options;
    // Never worse than it was, what the repair has not come to included (O-22).
    if (uncounted(loop, again) > most_uncounted_) fail(where + ": more clusters in use are not counted than before");
    options.repair = Repair::all;
    const auto report = loop.run(check_image(again, options));
    if (!report || !report->clean()) return fail(where + ": a second repair does not succeed");
    // Aliases stay: with the right count they are harmless (docs/format.md I-16).
    if (const Verdict verdict = verify(again.content()); !verdict.errors.empty()) fail(where + ": " + verdict.text());
    compare(again.content(), where);
  }

  void compare(const Content& image, const std::string& where) {
    if (image_.damage == Damage::payload) return;
    const Content after = read(image);
    for (std::uint64_t i = 0; i < clusters_read; ++i) {
      if (image_.may_differ.contains(i)) continue;
      const auto at = static_cast<std::ptrdiff_t>(i * image_.cluster_size_bytes);
      const auto size = static_cast<std::ptrdiff_t>(image_.cluster_size_bytes);
      if (after.empty() || !std::equal(before_.begin() + at, before_.begin() + at + size, after.begin() + at)) {
        return fail(fmt::format("{}: guest cluster {} reads differently", where, i));
      }
    }
  }

  // Empty if it cannot be read.
  Content read(const Content& image) const {
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));  // nothing waits on memory
    OpenOptions options;
    options.format = "qcow2";
    auto disk = loop.run(open_disk(std::make_unique<MemoryStorage>(ConstBytes(image)), options));
    if (!disk) return {};
    Content content(clusters_read * image_.cluster_size_bytes);
    const Bytes target(content);
    const auto done = loop.run((*disk)->read(0, target));
    const auto closed = loop.run((*disk)->close());
    return done && closed ? content : Content();
  }

  const DamagedImage& image_;
  SimulatedRandom random_;
  Content before_;
  SimulatedScheduler* scheduler_ = nullptr;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<SimulatedDisk> disk_, undo_;
  std::string failure_;
  std::uint64_t crash_states_ = 0;
  std::uint64_t most_uncounted_ = 0;
};

// Each `stride`-th image, but all kinds: neighbours are the kinds of one base.
void cut_off_repairs(std::size_t stride, unsigned crash_one_in) {
  const std::vector<DamagedImage> images = damaged_images();
  std::uint64_t crash_states = 0;
  std::uint64_t repairs = 0;
  for (std::size_t i = 0; i < images.size(); i += stride) {
    if (!images[i].repairable) continue;
    CutOffRepair repair(images[i], 7'000'000 + i);
    repair.run(crash_one_in);
    ASSERT_EQ(repair.failure(), "") << images[i].name << ", image " << i;
    crash_states += repair.crash_states();
    ++repairs;
  }
  std::printf("%llu crash states of %llu repairs\n", static_cast<unsigned long long>(crash_states),
              static_cast<unsigned long long>(repairs));
}

TEST(RepairCutOff, AnotherRepairCompletesIt) { cut_off_repairs(7, 3); }
TEST(NightlyRepairCutOff, AnotherRepairCompletesIt) { cut_off_repairs(1, 1); }

void failing_repairs(std::size_t stride, int errno_value, bool for_ever) {
  const std::vector<DamagedImage> images = damaged_images();
  for (std::size_t i = 3; i < images.size(); i += stride) {
    if (!images[i].repairable) continue;
    CutOffRepair whole(images[i], i);
    const std::uint64_t operations = whole.run(1'000'000);
    for (std::uint64_t nth = 1; nth <= operations; ++nth) {
      CutOffRepair repair(images[i], i);
      repair.run(16, {.nth = nth, .only = {}, .errno_value = errno_value, .for_ever = for_ever});
      ASSERT_EQ(repair.failure(), "") << images[i].name << ", operation " << nth;
    }
  }
}

TEST(RepairFaults, EioOnceAtEveryOperation) { failing_repairs(83, EIO, false); }
TEST(RepairFaults, EnospcForEverFromEveryOperation) { failing_repairs(97, ENOSPC, true); }
TEST(NightlyRepairFaults, EveryOperationOfEveryKind) {
  for (const bool for_ever : {false, true}) {
    failing_repairs(5, EIO, for_ever);
    failing_repairs(6, ENOSPC, for_ever);
  }
}

// The space is planned first: where it is not there, nothing changes.
TEST(RepairSpace, IsRefusedBeforeAnythingChanges) {
  unsigned refused = 0;
  for (const DamagedImage& image : damaged_images()) {
    auto scheduler = std::make_unique<SimulatedScheduler>(1);
    SimulatedDiskOptions options;
    options.limit_bytes = image.bytes.size();
    SimulatedDisk disk(*scheduler, options, image.bytes);
    EventLoop loop(std::move(scheduler));
    CheckOptions check;
    check.repair = Repair::all;
    const auto report = loop.run(check_image(disk, check));
    if (report) continue;
    ++refused;
    EXPECT_EQ(report.error().code(), ErrorCode::no_space) << image.name << ": " << report.error().message();
    EXPECT_EQ(disk.running_image(), image.bytes) << image.name;
  }
  EXPECT_GT(refused, 20u);
}

}  // namespace
}  // namespace byre::test
