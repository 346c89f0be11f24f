// Compacting under crashes and faults: at every moment the image is sound, and the disk and every snapshot read as they
// did; at the end nothing is left that need not be there. A failure prints the seed and how to repeat it.

#include "byre/ops/compact.h"

#include <gtest/gtest.h>

#include "base/endian.h"
#include "byre/ops/amend.h"
#include "byre/ops/snapshot.h"
#include "format/header.h"
#include "format/refcount.h"
#include "support/operation_run.h"
#include "support/seeded_runs.h"
#include "support/verify.h"

namespace byre::test {
namespace {

bool is_long(const TestImage& test) { return test.image.size_bytes > (1 << 20); }

// With a snapshot each payload that shares a cluster counts twice there, so not with the narrowest counts.
TestImage draw(SimulatedRandom& random, std::uint64_t snapshots) {
  TestImage test;
  format::Geometry& geometry = test.image.geometry;
  geometry.version = random.one_in(3) ? 2 : 3;
  geometry.cluster_bits = static_cast<unsigned>(9 + random.below(random.one_in(4) ? 4 : 2));
  geometry.refcount_order =
      geometry.version == 2 ? 4 : static_cast<unsigned>(snapshots > 0 ? 3 + random.below(4) : random.below(3));
  test.cache_bytes = random.one_in(2) ? 1 : 0;
  if (geometry.version == 3) test.image.lazy_refcounts = random.one_in(4);
  test.image.size_bytes = 512 * (1 + random.below(200));
  if (snapshots == 1 && random.one_in(4)) {
    geometry.cluster_bits = 9;
    test.image.size_bytes = 512 * (5'000 + random.below(1'000));
  }
  if (random.one_in(3)) {
    test.image.backing_name = "base";
    test.backing.assign(512 * (1 + random.below(400)), std::byte{0x77});
  }
  return test;
}

Task<Result<void>> write_once(Disk& disk, SimulatedRandom& random) {
  const std::uint64_t cluster = disk.cluster_size_bytes();
  const std::uint64_t offset = random.below(disk.size_bytes() / 512) * 512;
  const std::uint64_t length = std::min(disk.size_bytes() - offset, 512 * (1 + random.below(cluster / 64)));
  const auto value = static_cast<std::byte>(random.one_in(4) ? 0 : random.below(256));
  std::vector<std::byte> data(length, value);
  if (random.one_in(3)) {
    for (std::byte& byte : data) byte = static_cast<std::byte>(random.below(256));  // a large payload
  }
  const ConstBytes bytes(data);
  if (random.one_in(2)) co_return co_await disk.write(offset, bytes);
  const std::uint64_t start = offset / cluster * cluster;
  data.resize(std::min(cluster, disk.size_bytes() - start), value);
  const ConstBytes whole(data);
  [[maybe_unused]] const auto done = co_await disk.write_compressed(start, whole);  // fails where something is
  co_return Result<void>{};
}

// Holes of one cluster each.
Task<Result<void>> write_and_perforate(Disk& disk, SimulatedRandom& random) {
  const std::uint64_t cluster = disk.cluster_size_bytes();
  const std::uint64_t clusters = std::min(disk.size_bytes() / cluster, 10 + random.below(30));
  const std::vector<std::byte> data(clusters * cluster, static_cast<std::byte>(1 + random.below(255)));
  const ConstBytes bytes(data);
  BYRE_CO_CHECK(co_await disk.write(0, bytes));
  BYRE_CO_CHECK(co_await disk.flush());
  for (std::uint64_t i = 0; i < clusters; i += 2) BYRE_CO_CHECK(co_await disk.discard(i * cluster, cluster));
  co_return Result<void>{};
}

Task<Result<void>> change(Disk& disk, SimulatedRandom& random) {
  if (random.one_in(3)) BYRE_CO_CHECK(co_await write_and_perforate(disk, random));
  for (std::uint64_t i = 3 + random.below(8); i > 0; --i) {
    BYRE_CO_CHECK(co_await write_once(disk, random));
    const std::uint64_t offset = random.below(disk.size_bytes() / 512) * 512;
    const std::uint64_t length = std::min(disk.size_bytes() - offset, 512 * (1 + random.below(40)));
    if (random.one_in(4)) BYRE_CO_CHECK(co_await disk.discard(offset, length));
    if (random.one_in(6)) BYRE_CO_CHECK(co_await disk.write_zeroes(offset, length, ZeroMode::keep));
  }
  co_return Result<void>{};
}

class CompactProgram {
 public:
  CompactProgram(std::uint64_t seed, FaultPlan fault)
      : random_(seed * 2 + 1), snapshots_(random_.below(5)), run_(seed, draw(random_, snapshots_)), fault_(fault) {}

  void run() {
    if (is_long(run_.test())) {
      // The snapshot's L1 table of two clusters lies behind holes that are too short for it.
      run_.prepare([this](Disk& disk) { return write_and_perforate(disk, random_); });
      run_.prepare(take_snapshot);
    } else {
      live();
    }
    if (random_.one_in(4)) run_.edit([this](Content& image) { leak(image); });
    if (!run_.failure.empty()) return;
    CompactOptions options;
    options.zeroes = random_.one_in(2);
    const auto compact = [&options](Disk& disk) -> Task<Result<void>> {
      BYRE_CO_TRY([[maybe_unused]] const CompactReport report, co_await compact_disk(disk, options));
      co_return Result<void>{};
    };
    const DiskState same = run_.state();
    run_.run(compact, same, fault_);
    operations = run_.operations;
    if (fault_.nth != 0) run_.run(compact, same);  // goes on
    if (run_.failure.empty()) examine_file();
  }

  const std::string& failure() const { return run_.failure; }
  std::uint64_t crash_states() const { return run_.crash_states; }
  std::uint64_t operations = 0;

 private:
  void live() {
    for (std::uint64_t i = snapshots_;; --i) {
      run_.prepare([this](Disk& disk) { return change(disk, random_); });
      if (i == 0) break;
      run_.prepare(take_snapshot);
    }
    drop_snapshots();
    if (run_.test().image.geometry.version == 3 && random_.one_in(3)) {
      AmendOptions wider;  // leaves the refcounts at the end of the file
      wider.refcount_bits = 64;
      run_.prepare([&wider](Disk& disk) { return amend_disk(disk, wider); });
    }
  }

  // What one of them alone refers to becomes a hole.
  void drop_snapshots() {
    std::vector<std::string> ids;
    for (const auto& [id, content] : run_.state().snapshots) ids.push_back(id);
    for (const std::string& id : ids) {
      if (!random_.one_in(2)) continue;
      run_.prepare([id](Disk& disk) { return delete_snapshot(disk, id, SnapshotKey::id); });
    }
  }

  // One reference more than there is, to any cluster that the first refcount block counts.
  void leak(Content& image) {
    const auto header = format::decode_header(image, image.size(), format::HeaderUse::read);
    const std::byte* table = image.data() + header->refcount_table.bytes;
    std::byte* block = image.data() + load_be64(table);
    const format::Geometry geometry = header->geometry();
    const std::uint64_t clusters = std::min(geometry.refcounts_per_block(), geometry.clusters_for(image.size()));
    const std::uint64_t cluster = random_.below(clusters);
    const std::uint64_t count = format::load_refcount(block, geometry.refcount_order, cluster);
    if (count == 1) return;  // COPIED may stand where it leads to
    if (count == format::max_refcount(geometry.refcount_order)) return;
    format::store_refcount(block, geometry.refcount_order, cluster, count + 1);
  }

  void examine_file() {
    const Verdict verdict = verify(run_.image());
    if (!verdict.clean()) run_.failure = "compacted: " + verdict.text();
    if (verdict.payloads > 0 || verdict.unreferenced == 0) return;  // payloads need not fit into every hole
    run_.failure = std::to_string(verdict.unreferenced) + " clusters that nothing refers to are left";
  }

  SimulatedRandom random_;
  const std::uint64_t snapshots_;
  OperationRun run_;
  const FaultPlan fault_;
};

SeededOutcome run_program(std::uint64_t seed, std::size_t, const FaultPlan& fault) {
  CompactProgram program(seed, fault);
  program.run();
  return {program.failure(), program.crash_states(), {program.operations}};
}

TEST(Compact, EveryCrashPointLeavesTheDiskAsItReads) {
  run_until(12'000'000, 10'000, run_program);
  expect_passed({"data: payloads are moved", "data: refcount blocks are moved",
                 "data: refcount blocks that count nothing are dropped", "data: room is made for a table",
                 "data: an L2 table that says nothing is dropped", "data: a cluster of zeros is dropped",
                 "data: leaks are freed before compacting"});
}
TEST(Compact, AFaultAtAnyOperationLeavesTheDiskAsItReads) {
  fail_every_operation(12'500'000, 2, true, run_program);
  expect_passed({"data: a batch of moves is taken back", "data: moves that found no space are tried in smaller parts"});
}
TEST(NightlyCompact, EveryCrashPointLeavesTheDiskAsItReads) { run_until(120'000'000, 1'000'000, run_program); }
TEST(NightlyCompact, AFaultAtAnyOperationLeavesTheDiskAsItReads) {
  fail_every_operation(125'000'000, 150, true, run_program);
}

}  // namespace
}  // namespace byre::test
