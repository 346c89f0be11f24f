// Another refcount width and another version under crashes and faults (docs/format.md O-23, O-24): at every moment the
// image is sound, and the disk and every snapshot read the same. A failure prints the seed and how to repeat it.

#include "byre/ops/amend.h"

#include <gtest/gtest.h>

#include "byre/ops/snapshot.h"
#include "format/header.h"
#include "support/operation_run.h"
#include "support/seeded_runs.h"

namespace byre::test {
namespace {

TestImage draw(SimulatedRandom& random) {
  TestImage test;
  format::Geometry& geometry = test.image.geometry;
  geometry.version = random.one_in(4) ? 2 : 3;
  geometry.cluster_bits = static_cast<unsigned>(9 + random.below(3));
  geometry.refcount_order = geometry.version == 2 || random.one_in(2) ? 4 : static_cast<unsigned>(2 + random.below(5));
  test.cache_bytes = random.one_in(2) ? 1 : 0;
  test.image.size_bytes = 512 * (1 + random.below(200));
  if (random.one_in(2)) {
    test.image.backing_name = "base";
    test.backing.assign(512 * (1 + random.below(300)), std::byte{0x77});
  }
  return test;
}

Task<Result<void>> change(Disk& disk, SimulatedRandom& random) {
  for (int i = 0; i < 6; ++i) {
    const std::uint64_t offset = random.below(disk.size_bytes() / 512) * 512;
    const std::uint64_t length = std::min(disk.size_bytes() - offset, 512 * (1 + random.below(20)));
    if (random.one_in(2)) {
      const ZeroMode mode = random.one_in(2) ? ZeroMode::keep : ZeroMode::unmap;
      BYRE_CO_CHECK(co_await disk.write_zeroes(offset, length, mode));
      continue;
    }
    const std::vector<std::byte> data(length, static_cast<std::byte>(1 + random.below(255)));
    const ConstBytes bytes(data);
    BYRE_CO_CHECK(co_await disk.write(offset, bytes));
  }
  co_return Result<void>{};
}

class AmendProgram {
 public:
  AmendProgram(std::uint64_t seed, FaultPlan fault) : random_(seed * 2 + 1), run_(seed, draw(random_)), fault_(fault) {}

  void run() {
    for (std::uint64_t i = random_.below(3);; --i) {
      run_.prepare([this](Disk& disk) { return change(disk, random_); });
      if (i == 0) break;
      run_.prepare(take_snapshot);
    }
    const DiskState same = run_.state();
    for (int step = 0; step < 3 && run_.failure.empty(); ++step) {
      const AmendOptions options = drawn();
      run_.run([&options](Disk& disk) { return amend_disk(disk, options); }, same, step == 0 ? fault_ : FaultPlan());
      if (step == 0) operations = run_.operations;
      if (run_.failure.empty() && (step > 0 || fault_.nth == 0)) check_header(options);
    }
  }

  const std::string& failure() const { return run_.failure; }
  std::uint64_t crash_states() const { return run_.crash_states; }
  std::uint64_t operations = 0;  // of the first step, which meets the fault

 private:
  format::Header header() const {
    const Content& image = run_.image();
    return *format::decode_header(image, image.size(), format::HeaderUse::read);
  }

  AmendOptions drawn() {
    const format::Header now = header();
    AmendOptions options;
    if (now.version == 2) {
      options.version = 3;
    } else if (random_.one_in(2)) {
      options.version = 2;
      options.refcount_bits = 16;
      return options;
    }
    if (random_.one_in(3)) options.lazy_refcounts = random_.one_in(2);
    if (!random_.one_in(4)) options.refcount_bits = 1U << (2 + random_.below(5));
    return options;
  }

  void check_header(const AmendOptions& options) {
    const format::Header now = header();
    const bool lazy = (now.compatible_features & format::compatible::lazy_refcounts) != 0;
    const bool right =
        now.version == options.version.value_or(now.version) &&
        now.geometry().refcount_bits() == options.refcount_bits.value_or(now.geometry().refcount_bits()) &&
        lazy == options.lazy_refcounts.value_or(lazy);
    if (!right) run_.failure = "the header does not say what was asked for";
  }

  SimulatedRandom random_;
  OperationRun run_;
  const FaultPlan fault_;
};

SeededOutcome run_program(std::uint64_t seed, std::size_t, const FaultPlan& fault) {
  AmendProgram program(seed, fault);
  program.run();
  return {program.failure(), program.crash_states(), {program.operations}};
}

TEST(Amend, EveryCrashPointLeavesTheDiskAsItReads) {
  run_until(10'000'000, 10'000, run_program);
  expect_passed({"data: the refcount width has changed", "data: zero entries are expanded"});
}
TEST(Amend, AFaultAtAnyOperationLeavesTheDiskAsItReads) { fail_every_operation(10'500'000, 6, true, run_program); }
TEST(NightlyAmend, EveryCrashPointLeavesTheDiskAsItReads) { run_until(100'000'000, 200'000, run_program); }
TEST(NightlyAmend, AFaultAtAnyOperationLeavesTheDiskAsItReads) {
  fail_every_operation(105'000'000, 150, true, run_program);
}

}  // namespace
}  // namespace byre::test
