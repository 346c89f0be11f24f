#include "ops/copy_runs.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace byre::ops {
namespace {

using Runs = std::vector<CopyRun>;
constexpr auto data = CopyRun::Kind::data;
constexpr auto zero = CopyRun::Kind::zero;

// One letter per unit of 512 bytes: '.' is zeros, any other letter fills it.
std::vector<std::byte> content(std::string_view letters) {
  std::vector<std::byte> bytes;
  for (char letter : letters) {
    bytes.insert(bytes.end(), 512, std::byte(letter == '.' ? 0 : static_cast<unsigned char>(letter)));
  }
  return bytes;
}

Runs runs(std::string_view letters, std::string_view existing, CopyRunRules rules) {
  rules.unit_bytes = 512;
  Runs result = copy_runs(content(letters), content(existing), rules);
  for (CopyRun& run : result) {
    run.offset_bytes /= 512;
    run.length_bytes /= 512;
  }
  return result;
}

// docs/format.md C-26.
TEST(CopyRuns, LeavesZerosOutAndMergesNeighbours) {
  EXPECT_EQ(runs("aab..c..", "", {.sparse_bytes = 512}), (Runs{{data, 0, 3}, {data, 5, 1}}));
  EXPECT_EQ(runs("....", "", {.sparse_bytes = 512}), Runs{});
}

TEST(CopyRuns, WritesZerosWhereTheTargetIsNotKnownToBeZero) {
  EXPECT_EQ(runs("a..b", "", {.sparse_bytes = 512, .skip_zeros = false}),
            (Runs{{data, 0, 1}, {zero, 1, 2}, {data, 3, 1}}));
}

TEST(CopyRuns, TakesShortZerosNextToDataForData) {
  EXPECT_EQ(runs("a..b...c", "", {.sparse_bytes = 3 * 512}), (Runs{{data, 0, 4}, {data, 7, 1}}));
  EXPECT_EQ(runs("..", "", {.sparse_bytes = 3 * 512}), Runs{}) << "no data beside them";
}

TEST(CopyRuns, StoresEverythingWithoutSparseness) {
  EXPECT_EQ(runs("a..b", "", {.sparse_bytes = 0}), (Runs{{data, 0, 4}}));
}

TEST(CopyRuns, LeavesOutWhatTheTargetHoldsAlready) {
  EXPECT_EQ(runs("ab.c.", "abxd.", {.sparse_bytes = 512, .skip_zeros = false}), (Runs{{zero, 2, 1}, {data, 3, 1}}));
  EXPECT_EQ(runs("abc", "abc", {.sparse_bytes = 0}), Runs{});
}

TEST(CopyRuns, CoversALastUnitThatIsShorter) {
  std::vector<std::byte> bytes = content("a.b");
  bytes.resize(bytes.size() - 100);
  CopyRunRules rules;
  rules.unit_bytes = 512;
  rules.sparse_bytes = 512;
  EXPECT_EQ(copy_runs(bytes, {}, rules), (Runs{{data, 0, 512}, {data, 1024, 412}}));
}

}  // namespace
}  // namespace byre::ops
