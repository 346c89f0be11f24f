// Does the net have holes? Each test breaks one rule of the engine and runs the simulator, which must find it: as a
// failure, or as an assertion of the engine. A rule that is never reached, or broken without being found, fails its
// test. With nothing broken the same programs pass.

#include "base/broken.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <new>

#include "byre/base/assert.h"
#include "support/simulation.h"

namespace byre::test {
namespace {

constexpr std::uint64_t first_seed = 9'000'000;

// What the child saw: it may end by an assertion.
struct Seen {
  std::uint64_t programs = 0;
  std::uint64_t times_broken = 0;
  bool failed = false;
  char failure[512] = {};
};

// Short programs with every crash point and long ones with some, in turn; half of them with lazy refcounts.
SimulationResult run_program(std::uint64_t seed) {
  SimulationOptions options;
  options.seed = seed;
  options.lazy = seed % 4 < 2;
  options.operations = seed % 2 == 0 ? 8 : 60;
  options.workers = seed % 2 == 0 ? 2 : 4;
  options.crash_one_in = seed % 2 == 0 ? 1 : 12;
  return simulate(options);
}

void run_programs(std::string_view rule, std::uint64_t count, Seen& seen) {
  break_rule(rule);
  while (seen.programs < count && !seen.failed) {
    const SimulationResult result = run_program(first_seed + seen.programs);
    ++seen.programs;
    seen.times_broken = times_broken();
    seen.failed = !result.failure.empty();
    result.failure.copy(seen.failure, sizeof seen.failure - 1);
  }
}

// In a child, because an assertion of the engine ends the process.
int run_in_child(std::string_view rule, std::uint64_t count, Seen& seen) {
  const pid_t child = ::fork();
  if (child == 0) {
    run_programs(rule, count, seen);
    ::_exit(0);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

void expect_found(std::string_view rule) {
  void* shared = ::mmap(nullptr, sizeof(Seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(shared, MAP_FAILED);
  Seen& seen = *new (shared) Seen;
  const int status = run_in_child(rule, 1000, seen);
  const bool asserted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
  ASSERT_TRUE(asserted || WIFEXITED(status)) << "status " << status;
  EXPECT_TRUE(asserted || seen.times_broken > 0) << "the rule is never reached";
  EXPECT_TRUE(asserted || seen.failed) << seen.programs << " programs find nothing";
  std::printf("after %llu programs: %s\n", static_cast<unsigned long long>(seen.programs + (asserted ? 1 : 0)),
              asserted ? "an assertion" : seen.failure);
  ::munmap(shared, sizeof(Seen));
}

TEST(Broken, LinkBeforeWrite) { expect_found("link-before-write"); }
TEST(Broken, NoSyncBeforeL2) { expect_found("no-sync-before-l2"); }
TEST(Broken, NoSyncBeforeL1) { expect_found("no-sync-before-l1"); }
TEST(Broken, DecrementEarly) { expect_found("decrement-early"); }
TEST(Broken, ReuseBeforeDurable) { expect_found("reuse-before-durable"); }
TEST(Broken, NoLease) { expect_found("no-lease"); }
TEST(Broken, NoCut) { expect_found("no-cut"); }
TEST(Broken, DirtyBitNotDurable) { expect_found("dirty-bit-not-durable"); }
TEST(Broken, ClearDirtyEarly) { expect_found("clear-dirty-early"); }
TEST(Broken, LazyLinkNotFresh) { expect_found("lazy-link-not-fresh"); }
TEST(Broken, LazyLinkBehindEnd) { expect_found("lazy-link-behind-end"); }

TEST(Broken, NothingBrokenPasses) {
  Seen seen;
  run_programs("", 100, seen);
  EXPECT_FALSE(seen.failed) << seen.failure << " in program " << seen.programs;
}

// The test of the tests: a name that no rule has.
TEST(Broken, ARuleThatDoesNotExistIsNotFound) {
  Seen seen;
  run_programs("no such rule", 4, seen);
  EXPECT_EQ(seen.times_broken, 0u);
  EXPECT_FALSE(seen.failed);
}

}  // namespace
}  // namespace byre::test
