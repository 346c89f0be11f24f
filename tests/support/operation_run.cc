#include "support/operation_run.h"

#include <algorithm>

#include "byre/ops/snapshot.h"
#include "byre/storage/memory.h"
#include "support/bytes.h"
#include "support/verify.h"
#include "support/view_storage.h"

namespace byre::test {
namespace {

Task<Result<std::vector<SnapshotInfo>>> listed(ConstBytes image, const TestImage& test) {
  auto storage = std::make_unique<ViewStorage>(image);
  BYRE_CO_TRY(auto disk, co_await open_image(std::move(storage), test, false));
  auto list = co_await list_snapshots(*disk);
  BYRE_CO_CHECK(co_await disk->close());
  co_return list;
}

Task<Result<void>> overwrite_something(Disk& disk, Content& content, SimulatedRandom& random) {
  if (disk.size_bytes() == 0) co_return Result<void>{};
  const std::uint64_t offset = random.below(disk.size_bytes());
  const Content data(1 + random.below(std::min<std::uint64_t>(disk.size_bytes() - offset, 2000)), std::byte{0xA5});
  std::ranges::copy(data, content.begin() + static_cast<std::ptrdiff_t>(offset));
  const ConstBytes bytes(data);
  co_return co_await disk.write(offset, bytes);
}

}  // namespace

OperationRun::OperationRun(std::uint64_t seed, const TestImage& test)
    : seed_(seed), test_(test), random_(seed * 2 + 1), image_(fresh_image(test.image)) {
  prepare([](Disk& disk) { return disk.flush(); });
}

void OperationRun::prepare(const Operation& operation) {
  EventLoop loop(std::make_unique<SimulatedScheduler>(0));
  auto storage = std::make_unique<MemoryStorage>(ConstBytes(image_));
  MemoryStorage* memory = storage.get();
  auto disk = loop.run(open_image(std::move(storage), test_, true));
  if (!disk) return fail("preparation: " + disk.error().message());
  if (auto done = loop.run(operation(**disk)); !done) return fail("preparation: " + done.error().message());
  if (auto closed = loop.run((*disk)->close()); !closed) return fail("preparation: " + closed.error().message());
  image_ = memory->content();
  look_again();
}

void OperationRun::edit(const std::function<void(Content& image)>& change) {
  change(image_);
  look_again();
}

void OperationRun::look_again() {
  auto state = look(image_);
  if (!state) return fail("preparation: " + state.error().message());
  state_ = std::move(*state);
  const Verdict verdict = verify(image_);
  if (!verdict.sound()) fail("preparation: " + verdict.text());
  known_leaks_ = verdict.leaks;
}

void OperationRun::run(const Operation& operation, const DiskState& after, const FaultPlan& fault) {
  if (!failure.empty()) return;
  after_ = after;
  failed_ = false;
  examined_.clear();
  auto scheduler = std::make_unique<SimulatedScheduler>(seed_);
  SimulatedScheduler& schedule = *scheduler;
  EventLoop loop(std::move(scheduler));
  SimulatedDiskOptions options;
  options.flush_errors_stick = false;
  options.punch_may_do_nothing = true;
  auto storage = std::make_unique<SimulatedDisk>(schedule, options, image_);
  storage_ = storage.get();
  auto disk = loop.run(open_image(std::move(storage), test_, true));
  if (!disk) return fail("open: " + disk.error().message());
  const std::uint64_t before = storage_->operation_count();
  schedule.set_before_pick([this] { crash(); });
  auto done = loop.run(attempt(**disk, operation, fault));
  operations = storage_->operation_count() - before;
  storage_->set_fault({});
  if (failed_ && failure.empty() && !done_after_all()) done = loop.run(operation(**disk));
  const auto closed = loop.run((*disk)->close());
  schedule.set_before_pick(nullptr);
  if (!closed && !failed_) fail("close: " + closed.error().message());
  SimulatedRandom unused(0);
  storage_->crash_image(unused, CrashMode::everything, image_);
  storage_ = nullptr;
  disk->reset();
  if (!failure.empty()) return;
  if (failed_ && !done) again(operation);
  if (!failure.empty()) return;
  finish(failed_ || (fault.nth != 0));
}

Task<Result<void>> OperationRun::attempt(Disk& disk, const Operation& operation, const FaultPlan& fault) {
  storage_->set_fault(fault);
  auto done = co_await operation(disk);
  if (!done && fault.nth == 0) fail("operation: " + done.error().message());
  failed_ = !done.has_value();
  co_return done;
}

// The last write may have arrived although it, or the sync behind it, failed.
bool OperationRun::done_after_all() {
  const auto state = look(storage_->running_image());
  if (!state) fail("after a failure: " + state.error().message());
  return state && *state == after_;
}

// The disk had stopped: what it left is opened anew. The operation may have been done, in which case nothing is left.
void OperationRun::again(const Operation& operation) {
  const auto state = look(image_);
  if (!state) return fail("after a failure: " + state.error().message());
  if (*state == after_) return;
  if (*state != state_) return fail("after a failure it shows neither the state before nor the one after");
  prepare(operation);
}

void OperationRun::crash() {
  static constexpr CrashMode modes[] = {CrashMode::random_subset, CrashMode::prefix_in_order, CrashMode::everything};
  for (const CrashMode mode : modes) {
    if (!failure.empty()) return;
    storage_->crash_image(random_, mode, crash_);
    if (!examined_.insert(hash_bytes(crash_)).second) continue;
    ++crash_states;
    examine(crash_, "crash state " + std::to_string(crash_states));
  }
}

Result<DiskState> OperationRun::look(const Content& image) {
  EventLoop loop(std::make_unique<SimulatedScheduler>(0));
  DiskState state;
  BYRE_TRY(state.disk, loop.run(read_all(ConstBytes(image), test_)));
  BYRE_TRY(const std::vector<SnapshotInfo> snapshots, loop.run(listed(ConstBytes(image), test_)));
  for (const SnapshotInfo& snapshot : snapshots) {
    BYRE_TRY(state.snapshots[snapshot.id], loop.run(read_all(ConstBytes(image), test_, snapshot.id)));
  }
  return state;
}

// The order of writes is kept under the dirty bit too, so counts are judged even where it stands.
void OperationRun::examine(const Content& image, const std::string& where) {
  const Verdict verdict = verify(image, test_.lazy() ? Counts::judged_if_clean : Counts::judged);
  if (!verdict.sound()) return fail(where + ": " + verdict.text());
  const auto state = look(image);
  if (!state) return fail(where + ": " + state.error().message());
  if (*state != state_ && *state != after_) {
    return fail(where + ": it shows neither the state before nor the one after");
  }
  if (random_.one_in(16)) examine_writable(image, where, *state);
}

// Opening for writing repairs what is dirty; nothing may be lost by that, nor by a write afterwards.
void OperationRun::examine_writable(const Content& image, const std::string& where, const DiskState& seen) {
  EventLoop loop(std::make_unique<SimulatedScheduler>(0));
  auto storage = std::make_unique<MemoryStorage>(ConstBytes(image));
  const MemoryStorage& memory = *storage;
  auto disk = loop.run(open_image(std::move(storage), test_, true));
  if (!disk) return fail(where + ", opened for writing: " + disk.error().message());
  DiskState expected = seen;
  auto done = loop.run(overwrite_something(**disk, expected.disk, random_));
  if (done) done = loop.run((*disk)->close());
  if (!done) return fail(where + ", written: " + done.error().message());
  const Content written = memory.content();
  const Verdict verdict = verify(written);
  if (!verdict.sound() || verdict.dirty) return fail(where + ", written: " + verdict.text());
  const auto now = look(written);
  if (!now) return fail(where + ", written: " + now.error().message());
  if (*now != expected) fail(where + ", written: it reads differently");
}

void OperationRun::finish(bool faulty) {
  const Verdict verdict = verify(image_);
  if (!verdict.sound()) return fail("closed: " + verdict.text());
  if (!faulty && (verdict.dirty || verdict.leaks > known_leaks_)) return fail("closed: " + verdict.text());
  const auto state = look(image_);
  if (!state) return fail("closed: " + state.error().message());
  if (*state != after_) return fail("closed: it does not show the state after");
  state_ = after_;
  known_leaks_ = verdict.leaks;
}

Task<Result<void>> take_snapshot(Disk& disk) {
  NewSnapshot snapshot;
  snapshot.name = "some name";
  BYRE_CO_TRY([[maybe_unused]] const std::string id, co_await create_snapshot(disk, snapshot));
  co_return Result<void>{};
}

}  // namespace byre::test
