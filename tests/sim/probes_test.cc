// The simulator reaches the paths that matter: each rare one is passed in a run of a few hundred programs.

#include <gtest/gtest.h>

#include <cerrno>

#include "base/probe.h"
#include "support/simulation.h"

namespace byre::test {
namespace {

constexpr const char* rare_paths[] = {
    "allocator: the refcount table moves",
    "allocator: a new refcount block",
    "allocator: reserved clusters go back",
    "packer: the open cluster's count is at its maximum",
    "packer: a payload runs on into the next cluster",
    "packer: the open cluster becomes free",
    "edit: a shared L2 table is copied",
    "edit: a zero cluster's host cluster is used again",
    "edit: a compressed reservation goes back",
    "metadata: a shared cluster loses one reference",
    "metadata: a cut that failed is dirty again",
    "drops: a lease keeps a durable unlink from being given back",
    "page cache: a page is evicted",
    "page cache: a page of the running cut stays",
    "data: a decision holds its pages",
    "data: a page is being loaded by another request",
    "data: another request has allocated the clusters meanwhile",
    "data: a flush waits for the one that runs",
    "data: the dirty limit starts a write-back",
    "data: the dirty bit is set",
    "data: links and data become durable in one sync",
    "data: the file is extended ahead of what is used",
    "data: a dirty image is repaired when it is opened",
    "data: a read brings a cluster up",
    "data: what a read would have brought up has been written meanwhile",
    "metadata: a cut with lazy refcounts takes them along",
};

void run_programs(SimulationOptions options, std::uint64_t first, std::uint64_t count) {
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    options.seed = seed;
    const SimulationResult result = simulate(options);
    ASSERT_EQ(result.failure, "") << "seed " << seed;
  }
}

TEST(Probes, TheSimulatorReachesEveryRarePath) {
  SimulationOptions options;
  options.operations = 60;
  options.workers = 4;
  options.crash_one_in = 1000;
  run_programs(options, 8'000'000, 400);
  options.crash_one_in = 100;
  run_programs(options, 8'300'000, 40);
  options.crowded = true;
  run_programs(options, 8'100'000, 20);
  options.crowded = false;
  options.operations = 12;
  options.crash_one_in = 1000;
  for (std::uint64_t nth = 1; nth < 40; nth += 3) {
    options.fault = {.nth = nth, .only = {}, .errno_value = EIO};
    run_programs(options, 8'200'000 + nth * 100, 60);
  }
  for (const char* path : rare_paths) EXPECT_GT(Probe::passed(path), 0u) << path;
}

}  // namespace
}  // namespace byre::test
