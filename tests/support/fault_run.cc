// The image and the requests are drawn from the seed. A fault may hit the opening: then opening must succeed once the
// fault is gone. Operations are counted from the first one of the opening.

#include "support/fault_run.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <optional>

#include "byre/data/disk.h"
#include "byre/storage/memory.h"
#include "support/bytes.h"
#include "support/oracle.h"
#include "support/region_map.h"
#include "support/site_tracer.h"
#include "support/snapshot_image.h"
#include "support/test_image.h"
#include "support/verify.h"

namespace byre::test {
namespace {

constexpr std::uint64_t autoclear_byte = 95;  // the lowest of the autoclear features
constexpr std::uint64_t unit = Oracle::unit_bytes;

enum class FaultKind { write, zero, unmap, discard, compressed, flush, read };

TestImage draw(SimulatedRandom& random, bool crowded) {
  TestImage test;
  format::Geometry& geometry = test.image.geometry;
  geometry.version = random.one_in(3) ? 2 : 3;
  geometry.cluster_bits = 9;
  geometry.refcount_order = geometry.version == 2 ? 4 : static_cast<unsigned>(1 + random.below(6));
  if (crowded) geometry = {3, 9, 6};
  test.cache_bytes = 1;
  test.image.size_bytes = 512 * (20 + random.below(100));
  if (random.one_in(2)) {
    test.image.backing_name = "base";
    test.backing.resize(512 * (1 + random.below(150)));
    for (std::size_t i = 0; i < test.backing.size(); ++i) test.backing[i] = static_cast<std::byte>(i / 512 * 37 + 1);
  }
  return test;
}

class FaultRun {
 public:
  FaultRun(std::uint64_t seed, const FaultPlan& fault, bool trace)
      : seed_(seed), fault_(fault), trace_(trace), random_(seed * 2 + 1), test_(draw(random_, seed % 4 == 0)) {}

  FaultRunResult run() {
    prepare();
    auto scheduler = std::make_unique<SimulatedScheduler>(seed_);
    SimulatedScheduler& schedule = *scheduler;
    EventLoop loop(std::move(scheduler));
    SimulatedDiskOptions options;
    options.flush_errors_stick = false;  // so that what follows a failed flush is put to the test too
    options.sector_bytes = random_.one_in(4) ? 4096 : 512;
    if (result_.failure.empty() && snapshot_) read_snapshot(loop, schedule, options);
    auto storage = std::make_unique<SimulatedDisk>(schedule, options, image_);
    storage_ = storage.get();
    storage_->set_fault(fault_of_session());
    if (trace_) tracer_.emplace(*storage_);
    auto disk = open(loop, std::move(storage));
    if (disk && result_.failure.empty()) {
      schedule.set_before_pick([this] { crash(); });
      loop.run(session(*disk));
      schedule.set_before_pick(nullptr);
    }
    if (tracer_) add_sites(tracer_->sites());
    if (disk) examine_closed();
    return std::move(result_);
  }

 private:
  void fail(std::string text) {
    if (result_.failure.empty()) result_.failure = std::move(text);
  }
  bool faulty() const { return fault_.nth != 0; }

  // The reading of the snapshot comes first; operations of both disks are numbered as one.
  FaultPlan fault_of_session() const {
    FaultPlan plan = fault_;
    plan.nth = plan.nth > operations_before_ ? plan.nth - operations_before_ : 0;
    return plan;
  }

  void prepare() {
    image_ = fresh_image(test_.image);
    if (seed_ % 4 == 0) crowd(image_, 8 + random_.below(30));
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));  // nothing waits on memory
    auto storage = std::make_unique<MemoryStorage>(ConstBytes(image_));
    MemoryStorage* memory = storage.get();
    auto disk = loop.run(open_image(std::move(storage), test_, true));
    if (!disk) return fail("preparation: " + disk.error().message());
    for (int i = 0; i < 8; ++i) (void)loop.run(perform(**disk, draw_kind(), true));
    if (auto closed = loop.run((*disk)->close()); !closed) return fail("preparation: " + closed.error().message());
    image_ = memory->content();
    auto content = loop.run(read_all(ConstBytes(image_), test_));
    if (!content) return fail("preparation: " + content.error().message());
    content_ = *content;
    if (seed_ % 4 == 1 && test_.image.geometry.version == 3 && add_snapshot(image_, "1")) snapshot_ = content_;
    if (test_.image.geometry.version == 3 && random_.one_in(2)) image_[autoclear_byte] |= std::byte{0x20};
    oracle_.emplace(content_);
  }

  void read_snapshot(EventLoop& loop, SimulatedScheduler& schedule, SimulatedDiskOptions options) {
    options.writable = false;
    auto storage = std::make_unique<SimulatedDisk>(schedule, options, image_);
    SimulatedDisk* under = storage.get();
    under->set_fault(fault_);
    std::optional<SiteTracer> tracer;
    if (trace_) tracer.emplace(*under);
    std::vector<std::byte> content(snapshot_->size());
    const Bytes target(content);
    auto disk = loop.run(open_image(std::move(storage), test_, false, "1"));
    const bool opened = disk.has_value();
    const auto done = opened ? loop.run((*disk)->read(0, target)) : Result<void>{};
    if (opened && done && !same_bytes(content, *snapshot_)) fail("the snapshot reads differently");
    if (!opened) return note_failed_open(disk.error().message());
    if (!done && !faulty()) fail("read of the snapshot: " + done.error().message());
    operations_before_ = under->operation_count();
    result_.faults += under->fault_count();
    if (tracer) result_.sites = tracer->sites();
  }

  // Only those that a fault can reach.
  void add_sites(std::vector<std::string> sites) {
    sites.resize(std::min<std::uint64_t>(sites.size(), last_with_fault_));
    std::ranges::move(sites, std::back_inserter(result_.sites));
  }

  // A disk that could not be opened is gone, with what it counted.
  void note_failed_open(const std::string& text) {
    if (!faulty()) fail("open: " + text);
    ++result_.faults;
    operations_before_ = fault_.nth;  // it has had its fault
  }

  std::unique_ptr<Disk> open(EventLoop& loop, std::unique_ptr<SimulatedDisk> storage) {
    auto disk = loop.run(open_image(std::move(storage), test_, true));
    if (disk) return std::move(*disk);
    note_failed_open(disk.error().message());
    SimulatedDiskOptions options;
    auto again = std::make_unique<SimulatedDisk>(static_cast<SimulatedScheduler&>(loop.poller()), options, image_);
    storage_ = again.get();
    auto second = loop.run(open_image(std::move(again), test_, true));
    if (!second) return fail("open without the fault: " + second.error().message()), nullptr;
    return std::move(*second);
  }

  FaultKind draw_kind() {
    constexpr std::array kinds{FaultKind::write,      FaultKind::write, FaultKind::write,
                               FaultKind::zero,       FaultKind::unmap, FaultKind::discard,
                               FaultKind::compressed, FaultKind::flush, FaultKind::read};
    return kinds[random_.below(kinds.size())];
  }

  // Draws a request of that kind and makes it; the oracle knows of it unless it belongs to the preparation.
  Task<Result<void>> perform(Disk& disk, FaultKind kind, bool preparing) {
    const std::uint64_t size = test_.image.size_bytes;
    std::uint64_t offset = random_.below(size / unit) * unit;
    std::uint64_t length = std::min(size - offset, unit * (1 + random_.below(24)));
    if (kind == FaultKind::compressed || kind == FaultKind::discard || random_.one_in(3)) {
      offset = offset / 512 * 512;
      length = 512;
    }
    const auto value = static_cast<std::byte>(1 + random_.below(255));
    if (kind == FaultKind::flush) co_return co_await flush(disk);
    if (kind == FaultKind::read) co_return co_await read(disk);
    const bool writes = kind == FaultKind::write || kind == FaultKind::compressed;
    const bool changes = kind != FaultKind::discard || test_.image.geometry.version >= 3 || test_.backing.empty();
    std::size_t ticket = 0;
    if (!preparing) ticket = oracle_->issue(offset, changes ? length : 0, writes ? value : std::byte{0});
    const auto done = co_await change(disk, kind, offset, length, value);
    if (preparing) co_return Result<void>{};
    if (done) {
      oracle_->acknowledge(ticket);
    } else if (kind == FaultKind::compressed && done.error().code() == ErrorCode::invalid_argument) {
      oracle_->withdraw(ticket);  // only what is not allocated can be written so
    } else {
      oracle_->fail(ticket);
    }
    if (!done && !faulty() && kind != FaultKind::compressed) fail("request: " + done.error().message());
    co_return Result<void>{};
  }

  static Task<Result<void>> change(Disk& disk, FaultKind kind, std::uint64_t offset, std::uint64_t length,
                                   std::byte value) {
    std::vector<std::byte> data(length);
    fill_units(offset, data, value);
    const ConstBytes bytes(data);
    if (kind == FaultKind::write) co_return co_await disk.write(offset, bytes);
    if (kind == FaultKind::compressed) co_return co_await disk.write_compressed(offset, bytes);
    if (kind == FaultKind::discard) co_return co_await disk.discard(offset, length);
    co_return co_await disk.write_zeroes(offset, length, kind == FaultKind::zero ? ZeroMode::keep : ZeroMode::unmap);
  }

  Task<Result<void>> flush(Disk& disk) {
    if (!oracle_) co_return co_await disk.flush();
    const std::uint64_t issued = oracle_->now();
    const auto done = co_await disk.flush();
    if (done) oracle_->flushed(issued);
    if (!done && !faulty()) fail("flush: " + done.error().message());
    co_return Result<void>{};
  }

  Task<Result<void>> read(Disk& disk) {
    if (!oracle_) co_return Result<void>{};
    std::vector<std::byte> content(std::min(disk.size_bytes(), test_.image.size_bytes));
    const std::uint64_t since = oracle_->now();
    const Bytes target(content);
    const auto done = co_await disk.read(0, target);
    if (!done && !faulty()) fail("read: " + done.error().message());
    if (!done) co_return Result<void>{};
    if (const auto wrong = oracle_->check_running(content, since)) fail(oracle_->explain(*wrong, content));
    co_return Result<void>{};
  }

  Task<Result<void>> session(Disk& disk) {
    for (int i = 0; i < 12 && result_.failure.empty(); ++i) co_await perform(disk, draw_kind(), false);
    if (seed_ % 5 == 4) co_return co_await end_with_fault(disk);
    co_await resize(disk, 512 * 64 * (70 + random_.below(10)));  // more than an L1 table of one cluster maps
    co_await resize(disk, test_.image.size_bytes);
    co_await flush(disk);
    remove_fault();
    if (disk.size_bytes() != test_.image.size_bytes) {  // again, and nothing is in the way
      const auto done = co_await disk.resize(test_.image.size_bytes, Preallocation::off);
      if (!done) fail("resize without the fault: " + done.error().message());
    }
    const std::uint64_t since = oracle_->now();
    std::vector<std::byte> content(disk.size_bytes());
    const Bytes target(content);
    const auto read_again = co_await disk.read(0, target);
    if (!read_again) fail("read without the fault: " + read_again.error().message());
    if (const auto wrong = oracle_->check_running(content, since)) fail(oracle_->explain(*wrong, content));
    const auto closed = co_await disk.close();
    if (!closed) fail("close: " + closed.error().message());
    oracle_->flushed(since);
    co_return Result<void>{};
  }

  // A close that fails has closed all the same: what was flushed before is there.
  Task<Result<void>> end_with_fault(Disk& disk) {
    const std::uint64_t issued = oracle_->now();
    const auto closed = co_await disk.close();
    if (closed) oracle_->flushed(issued);
    if (!closed && !faulty()) fail("close: " + closed.error().message());
    remove_fault();
    co_return Result<void>{};
  }

  void remove_fault() {
    result_.faults += storage_->fault_count();
    last_with_fault_ = storage_->operation_count();
    storage_->set_fault({});
  }

  Task<void> resize(Disk& disk, std::uint64_t size_bytes) {
    const auto done = co_await disk.resize(size_bytes, Preallocation::off);
    if (!done && !faulty()) fail("resize: " + done.error().message());
  }

  void crash() {
    if (!result_.failure.empty() || !random_.one_in(12)) return;
    storage_->crash_image(random_, CrashMode::random_subset, crash_);
    ++result_.crash_states;
    examine(fmt::format("crash state {}", result_.crash_states));
  }

  void examine(const std::string& where) {
    if (const Verdict verdict = verify(crash_, Counts::judged); !verdict.sound())
      return fail(where + ": " + verdict.text());
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));  // nothing waits on memory
    auto content = loop.run(read_all(ConstBytes(crash_), test_));
    if (!content) return fail(where + ": " + content.error().message());
    content->resize(test_.image.size_bytes);  // it may have grown for a while
    if (const auto wrong = oracle_->check_crashed(*content)) fail(where + ": " + oracle_->explain(*wrong, *content));
    if (!snapshot_) return;
    const auto before = loop.run(read_all(ConstBytes(crash_), test_, "1"));
    if (!before || *before != *snapshot_) fail(where + ": the snapshot reads differently");
  }

  void examine_closed() {
    SimulatedRandom unused(0);
    storage_->crash_image(unused, CrashMode::nothing, crash_);
    examine("closed");
  }

  const std::uint64_t seed_;
  const FaultPlan fault_;
  const bool trace_;
  SimulatedRandom random_;
  TestImage test_;
  std::vector<std::byte> image_, content_, crash_;
  std::optional<std::vector<std::byte>> snapshot_;
  std::optional<Oracle> oracle_;
  std::optional<SiteTracer> tracer_;
  SimulatedDisk* storage_ = nullptr;
  std::uint64_t operations_before_ = 0;
  std::uint64_t last_with_fault_ = 0;
  FaultRunResult result_;
};

}  // namespace

FaultRunResult run_with_fault(std::uint64_t seed, const FaultPlan& fault, bool trace) {
  return FaultRun(seed, fault, trace).run();
}

}  // namespace byre::test
