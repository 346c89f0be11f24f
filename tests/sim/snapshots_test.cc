// Taking, applying and deleting internal snapshots under crashes and faults (docs/format.md O-13 to O-16): at every
// moment the image is sound, and the disk and every snapshot are those from before or those from after. A failure
// prints the seed and how to repeat it.

#include <gtest/gtest.h>

#include "base/endian.h"
#include "byre/ops/snapshot.h"
#include "format/header.h"
#include "support/operation_run.h"
#include "support/seeded_runs.h"

namespace byre::test {
namespace {

TestImage draw(SimulatedRandom& random) {
  TestImage test;
  format::Geometry& geometry = test.image.geometry;
  geometry.version = random.one_in(3) ? 2 : 3;
  geometry.cluster_bits = static_cast<unsigned>(9 + random.below(random.one_in(4) ? 4 : 2));
  geometry.refcount_order = geometry.version == 2 ? 4 : static_cast<unsigned>(2 + random.below(5));
  test.cache_bytes = random.one_in(2) ? 1 : 0;
  if (geometry.version == 3) test.image.lazy_refcounts = random.one_in(4);
  test.image.size_bytes = 512 * (1 + random.below(300));
  if (random.one_in(3)) {
    test.image.backing_name = "base";
    test.backing.resize(512 * (1 + random.below(400)));
    for (std::size_t i = 0; i < test.backing.size(); ++i) {
      test.backing[i] = static_cast<std::byte>(random.one_in(64) ? 0 : i / 512 * 37 + 1);
    }
  }
  return test;
}

Task<Result<void>> change_once(Disk& disk, SimulatedRandom& random) {
  const std::uint64_t cluster = disk.cluster_size_bytes();
  const std::uint64_t offset = random.below(disk.size_bytes() / 512) * 512;
  const std::uint64_t length = std::min(disk.size_bytes() - offset, 512 * (1 + random.below(cluster / 128)));
  if (random.one_in(5)) co_return co_await disk.write_zeroes(offset, length, ZeroMode::keep);
  if (random.one_in(5)) co_return co_await disk.discard(offset, length);
  const std::vector<std::byte> data(length, static_cast<std::byte>(1 + random.below(255)));
  const ConstBytes bytes(data);
  if (!random.one_in(4)) co_return co_await disk.write(offset, bytes);
  const std::uint64_t start = offset / cluster * cluster;
  const std::vector<std::byte> whole(std::min(cluster, disk.size_bytes() - start), data[0]);
  const ConstBytes packed(whole);
  [[maybe_unused]] const auto done = co_await disk.write_compressed(start, packed);  // fails where something is
  co_return Result<void>{};
}

Task<Result<void>> change(Disk& disk, SimulatedRandom& random) {
  for (int i = 0; i < 4; ++i) {
    if (disk.size_bytes() == 0) break;
    BYRE_CO_CHECK(co_await change_once(disk, random));
  }
  co_return Result<void>{};
}

Task<Result<void>> save_vm_state(Disk& disk, SimulatedRandom& random) {
  const std::uint64_t offset = random.below(20000);
  const std::vector<std::byte> state(1 + random.below(6000), static_cast<std::byte>(1 + random.below(255)));
  const ConstBytes bytes(state);
  co_return co_await write_vm_state(disk, offset, bytes);
}

Task<Result<void>> write_all(Disk& disk) {
  const std::vector<std::byte> data(disk.size_bytes(), std::byte{0x5A});
  const ConstBytes bytes(data);
  co_return co_await disk.write(0, bytes);
}

class SnapshotProgram {
 public:
  SnapshotProgram(std::uint64_t seed, FaultPlan fault)
      : faulty_step_(seed % 5), random_(seed * 2 + 1), run_(seed, draw(random_)), fault_(fault) {}

  void run(std::uint64_t steps) {
    for (std::uint64_t step = 0; step < steps && run_.failure.empty(); ++step) {
      run_.prepare([this](Disk& disk) { return change(disk, random_); });
      if (random_.one_in(4)) resize();
      one_operation(step == faulty_step_ ? fault_ : FaultPlan());
      if (step == faulty_step_) operations = run_.operations;
    }
  }
  std::uint64_t steps_with_fault() const { return faulty_step_ + 2; }

  const std::string& failure() const { return run_.failure; }
  std::uint64_t crash_states() const { return run_.crash_states; }
  std::uint64_t operations = 0;  // of the step that meets the fault

 private:
  void resize() {
    const bool refused = run_.test().image.geometry.version == 2 && !run_.state().snapshots.empty();
    if (refused) return;
    const std::uint64_t size = 512 * (1 + random_.below(600));
    run_.prepare([size](Disk& disk) { return disk.resize(size, Preallocation::off); });
  }

  void one_operation(const FaultPlan& fault) {
    const DiskState& state = run_.state();
    DiskState after = state;
    std::vector<std::string> ids;
    for (const auto& [id, content] : state.snapshots) ids.push_back(id);
    if (random_.one_in(5)) {  // nothing that a guest sees
      return run_.run([this](Disk& disk) { return save_vm_state(disk, random_); }, after, fault);
    }
    const std::uint64_t kind = ids.empty() ? 0 : random_.below(3);
    if (kind == 0 && ids.size() < 3) {
      std::uint64_t next = 1;
      for (const std::string& id : ids) next = std::max<std::uint64_t>(next, std::stoull(id) + 1);
      after.snapshots[std::to_string(next)] = state.disk;
      return run_.run(take_snapshot, after, fault);
    }
    const std::string id = ids[random_.below(ids.size())];
    if (kind == 1) {
      after.disk = state.snapshots.at(id);
      return run_.run([id](Disk& disk) { return apply_snapshot(disk, id); }, after, fault);
    }
    after.snapshots.erase(id);
    run_.run([id](Disk& disk) { return delete_snapshot(disk, id, SnapshotKey::id); }, after, fault);
  }

  const std::uint64_t faulty_step_;
  SimulatedRandom random_;
  OperationRun run_;
  const FaultPlan fault_;
};

constexpr std::uint64_t all_steps = 6;

SeededOutcome run_program(std::uint64_t seed, std::size_t, const FaultPlan& fault) {
  SnapshotProgram program(seed, fault);
  program.run(fault.nth == 0 ? all_steps : program.steps_with_fault());
  return {program.failure(), program.crash_states(), {program.operations}};
}

// L1 entries in use behind those that the disk needs: what an image looks like whose machine has saved its state.
std::uint64_t l1_entries_behind_the_disk(const Content& image) {
  const auto header = format::decode_header(image, image.size(), format::HeaderUse::read);
  std::uint64_t used = 0;
  const std::uint64_t needed = header->geometry().required_l1_entries(header->virtual_size_bytes);
  for (std::uint64_t i = needed; i < header->l1_entries; ++i) {
    used += load_be64(image.data() + header->l1_table.bytes + i * 8) != 0 ? 1 : 0;
  }
  return used;
}

SeededOutcome run_with_vm_state(std::uint64_t seed, std::size_t, const FaultPlan& fault) {
  TestImage test;
  test.image.geometry.version = seed % 2 == 0 ? 2 : 3;
  test.image.geometry.cluster_bits = 9;
  test.image.size_bytes = 100 << 10;
  OperationRun run(seed, test);
  run.prepare(write_all);
  run.edit([](Content& image) { store_be64(image.data() + format::header_field::virtual_size, 20 << 10); });
  SeededOutcome outcome;
  if (l1_entries_behind_the_disk(run.image()) == 0) outcome.failure = "no VM state to begin with";
  DiskState after = run.state();
  after.snapshots["1"] = after.disk;
  run.run(take_snapshot, after, fault);
  outcome.operations = {run.operations};
  if (fault.nth == 0 && l1_entries_behind_the_disk(run.image()) != 0) outcome.failure = "the VM state stays";
  run.run([](Disk& disk) { return apply_snapshot(disk, "1"); }, after);
  if (l1_entries_behind_the_disk(run.image()) == 0) outcome.failure = "the VM state does not come back";
  if (!run.failure.empty()) outcome.failure = run.failure;
  outcome.crash_states = run.crash_states;
  return outcome;
}

TEST(Snapshots, TheVmStateGoesToTheSnapshotAndComesBack) { run_until(7'900'000, 300, run_with_vm_state); }
TEST(Snapshots, TheVmStateSurvivesAFaultAtAnyOperation) { fail_every_operation(7'950'000, 2, true, run_with_vm_state); }
TEST(Snapshots, EveryCrashPointLeavesTheStateBeforeOrAfter) {
  run_until(7'000'000, 50'000, run_program);
  expect_passed({"data: a snapshot is taken", "data: a snapshot is applied", "data: a snapshot is deleted"});
}
TEST(Snapshots, AFaultAtAnyOperationLeavesTheStateBeforeOrAfter) {
  fail_every_operation(7'500'000, 8, true, run_program);
  expect_passed(
      {"data: an exclusive operation that failed is taken back", "data: counts that were changed are put back"});
}
TEST(NightlySnapshots, EveryCrashPointLeavesTheStateBeforeOrAfter) { run_until(70'000'000, 300'000, run_program); }
TEST(NightlySnapshots, AFaultAtAnyOperationLeavesTheStateBeforeOrAfter) {
  fail_every_operation(75'000'000, 100, true, run_program);
}

}  // namespace
}  // namespace byre::test
