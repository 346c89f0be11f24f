// Every program of up to three requests on a disk of three clusters, every crash point of it, every subset of the
// sectors that are not durable there: not a sample. A failure prints the variant, the program, the moment, the state.

#include <gtest/gtest.h>

#include "support/crash_count.h"
#include "support/small_program.h"

namespace byre::test {
namespace {

// Program number `index` of those of `length` requests.
std::vector<unsigned> program_of(std::uint64_t index, unsigned length) {
  std::vector<unsigned> program;
  for (unsigned i = 0; i < length; ++i) {
    program.push_back(static_cast<unsigned>(index % small_request_count()));
    index /= small_request_count();
  }
  return program;
}

struct Total : SmallResult {
  std::uint64_t programs = 0;
};

// Every `stride`-th program of that length, from number `first` on.
void run_programs(const SmallVariant& variant, unsigned length, std::uint64_t first, std::uint64_t stride,
                  Total& total) {
  std::uint64_t count = 1;
  for (unsigned i = 0; i < length; ++i) count *= small_request_count();
  for (std::uint64_t index = first; index < count; index += stride) {
    const SmallResult result = run_small_program(variant, program_of(index, length), {});
    ASSERT_EQ(result.failure, "");
    total.add(result);
    ++total.programs;
  }
}

void report(const Total& total) {
  std::printf("%llu programs, %llu moments, %llu of them sampled; %llu images\n",
              static_cast<unsigned long long>(total.programs), static_cast<unsigned long long>(total.moments),
              static_cast<unsigned long long>(total.sampled_moments), static_cast<unsigned long long>(total.states));
  report_crash_states(total.examined);
}

std::vector<SmallVariant> all_variants() {
  std::vector<SmallVariant> all;
  for (SmallVariant variant : small_variants()) {
    for (const std::uint32_t sector_bytes : {512u, 4096u}) {
      for (const bool newest_first : {false, true}) {
        variant.sector_bytes = sector_bytes;
        variant.newest_first = newest_first;
        all.push_back(variant);
      }
    }
  }
  return all;
}

TEST(Exhaustive, ProgramsOfOneAndTwoRequestsAreSoundInEveryStateOfEveryMoment) {
  Total total;
  for (const SmallVariant& variant : all_variants()) {
    for (const unsigned length : {1u, 2u}) {
      run_programs(variant, length, 0, 1, total);
      if (HasFatalFailure()) return;
    }
  }
  report(total);
}

// The stride has no divisor in common with the number of requests, so that every request comes up at every place.
TEST(Exhaustive, EveryThirdProgramOfThreeRequestsIsSoundInEveryStateOfEveryMoment) {
  Total total;
  std::uint64_t first = 0;
  for (const SmallVariant& variant : small_variants()) {
    run_programs(variant, 3, first++ % 3, 3, total);
    if (HasFatalFailure()) return;
  }
  report(total);
}

// By image, so that several can run at once.
class NightlyExhaustive : public testing::TestWithParam<unsigned> {};

TEST_P(NightlyExhaustive, ProgramsOfThreeRequestsAreSoundInEveryStateOfEveryMoment) {
  Total total;
  for (const SmallVariant& variant : all_variants()) {
    if (!variant.same_image(small_variants()[GetParam()])) continue;
    run_programs(variant, 3, 0, 1, total);
    if (HasFatalFailure()) return;
  }
  report(total);
}

TEST_P(NightlyExhaustive, ProgramsOfFourRequestsAreSoundInEveryStateOfEveryMoment) {
  Total total;
  run_programs(small_variants()[GetParam()], 4, 0, 1, total);
  if (!HasFatalFailure()) report(total);
}

INSTANTIATE_TEST_SUITE_P(Image, NightlyExhaustive, testing::Range(0u, 12u));

}  // namespace
}  // namespace byre::test
