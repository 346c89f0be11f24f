#include "support/recovery.h"

#include "byre/storage/memory.h"
#include "byre/storage/simulated.h"
#include "support/bytes.h"
#include "support/verify.h"

namespace byre::test {
namespace {

class Recovery {
 public:
  Recovery(const TestImage& test, const Expected& expected, std::uint64_t seed)
      : test_(test), expected_(expected), seed_(seed), random_(seed * 2 + 1) {}

  std::string run(const std::vector<std::byte>& dirty) {
    auto scheduler = std::make_unique<SimulatedScheduler>(seed_);
    SimulatedScheduler& schedule = *scheduler;
    EventLoop loop(std::move(scheduler));
    auto storage = std::make_unique<SimulatedDisk>(schedule, SimulatedDiskOptions(), dirty);
    SimulatedDisk* disk_on = storage.get();
    schedule.set_before_pick([this, disk_on] { crash(*disk_on); });
    auto disk = loop.run(open_image(std::move(storage), test_, true));
    if (!disk) return "repair at open: " + disk.error().message();
    const auto closed = loop.run((*disk)->close());
    schedule.set_before_pick(nullptr);
    if (!closed) fail("close after a repair: " + closed.error().message());
    SimulatedRandom unused(0);
    disk_on->crash_image(unused, CrashMode::nothing, image_);
    examine_repaired(image_, "repaired");
    return std::move(failure_);
  }

 private:
  void fail(std::string text) {
    if (failure_.empty()) failure_ = std::move(text);
  }

  void crash(SimulatedDisk& disk) {
    if (!failure_.empty() || !random_.one_in(4)) return;
    static constexpr CrashMode modes[] = {CrashMode::random_subset, CrashMode::prefix_in_order, CrashMode::everything};
    disk.crash_image(random_, modes[random_.below(3)], image_);
    const Verdict verdict = verify(image_);
    if (!verdict.sound()) return fail("crash while it was repaired: " + verdict.text());
    examine_content(image_, "crash while it was repaired");
    repair_again();
  }

  void repair_again() {
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));  // nothing waits on memory
    auto storage = std::make_unique<MemoryStorage>(ConstBytes(image_));
    const MemoryStorage* memory = storage.get();
    auto disk = loop.run(open_image(std::move(storage), test_, true));
    if (!disk) return fail("second repair at open: " + disk.error().message());
    if (const auto closed = loop.run((*disk)->close()); !closed) fail("close: " + closed.error().message());
    examine_repaired(memory->content(), "repaired after a crash while it was repaired");
  }

  void examine_repaired(const std::vector<std::byte>& image, const std::string& where) {
    const Verdict verdict = verify(image);
    if (!verdict.sound() || verdict.dirty) return fail(where + (verdict.dirty ? ", dirty: " : ": ") + verdict.text());
    examine_content(image, where);
  }

  void examine_content(const std::vector<std::byte>& image, const std::string& where) {
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));
    const auto content = loop.run(read_all(ConstBytes(image), test_));
    if (!content) return fail(where + ": " + content.error().message());
    if (!same_bytes(*content, expected_.content)) return fail(where + ": it reads differently");
    if (!expected_.snapshot) return;
    const auto snapshot = loop.run(read_all(ConstBytes(image), test_, "1"));
    if (!snapshot) return fail(where + ", snapshot: " + snapshot.error().message());
    if (!same_bytes(*snapshot, *expected_.snapshot)) fail(where + ": the snapshot reads differently");
  }

  const TestImage& test_;
  const Expected& expected_;
  std::uint64_t seed_;
  SimulatedRandom random_;
  std::vector<std::byte> image_;
  std::string failure_;
};

}  // namespace

std::string crash_during_repair(const std::vector<std::byte>& dirty, const TestImage& test, const Expected& expected,
                                std::uint64_t seed) {
  Recovery recovery(test, expected, seed);
  return recovery.run(dirty);
}

}  // namespace byre::test
