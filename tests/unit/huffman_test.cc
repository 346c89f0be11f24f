#include "format/huffman.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "byre/storage/simulated.h"

namespace byre::test {
namespace {

using format::HuffmanCode;

std::uint64_t cost(const HuffmanCode& code, const std::vector<std::uint32_t>& counts) {
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) bits += std::uint64_t{counts[i]} * code.lengths[i];
  return bits;
}

// The least that any code without a limit takes: the two rarest are joined until one is left.
std::uint64_t least_cost(const std::vector<std::uint32_t>& counts) {
  std::vector<std::uint64_t> left;
  std::ranges::copy_if(counts, std::back_inserter(left), [](std::uint32_t count) { return count > 0; });
  std::uint64_t bits = left.size() == 1 ? left.front() : 0;
  while (left.size() > 1) {
    std::ranges::sort(left, std::greater());
    const std::uint64_t pair = left.back() + left[left.size() - 2];
    left.resize(left.size() - 2);
    left.push_back(pair);
    bits += pair;
  }
  return bits;
}

// In units of the longest code: a complete code uses all of it.
std::uint64_t space(const HuffmanCode& code, unsigned longest_bits) {
  std::uint64_t sum = 0;
  for (const std::uint8_t length : code.lengths) sum += length > 0 ? std::uint64_t{1} << (longest_bits - length) : 0;
  return sum;
}

std::vector<std::uint32_t> random_counts(SimulatedRandom& random) {
  std::vector<std::uint32_t> counts(2 + random.below(285));
  const auto width = 1 + random.below(9);
  for (std::uint32_t& count : counts) {
    const std::uint64_t most = std::uint64_t{1} << random.below(width);
    count = random.below(3) == 0 ? 0 : static_cast<std::uint32_t>(random.below(most));
  }
  return counts;
}

TEST(HuffmanCodes, AreAsShortAsPossibleAndComplete) {
  SimulatedRandom random(1);
  for (int i = 0; i < 500; ++i) {
    const auto counts = random_counts(random);
    const HuffmanCode code = HuffmanCode::for_counts(counts, 15);
    ASSERT_EQ(space(code, 15), 1U << 15) << i;
    ASSERT_LT(std::ranges::max(code.lengths), 15) << "the limit was not to matter here";
    ASSERT_EQ(cost(code, counts), least_cost(counts)) << i;
  }
}

TEST(HuffmanCodes, KeepTheLimit) {
  std::vector<std::uint32_t> fibonacci = {1, 1};
  while (fibonacci.size() < 30) fibonacci.push_back(fibonacci[fibonacci.size() - 1] + fibonacci[fibonacci.size() - 2]);
  std::uint64_t before = 0;
  for (const unsigned longest : {15U, 9U, 7U, 5U}) {
    const HuffmanCode code = HuffmanCode::for_counts(fibonacci, longest);
    EXPECT_EQ(std::ranges::max(code.lengths), longest);
    EXPECT_EQ(space(code, longest), std::uint64_t{1} << longest);
    EXPECT_GT(cost(code, fibonacci), before) << "a tighter limit costs";
    before = cost(code, fibonacci);
  }
}

// By trying every code: all non-decreasing sequences of lengths that are complete.
std::uint64_t best_limited_cost(const std::vector<std::uint32_t>& sorted, std::size_t at, unsigned length,
                                unsigned longest, std::uint64_t room) {
  if (at == sorted.size()) return room == 0 ? 0 : ~std::uint64_t{0} / 2;
  std::uint64_t best = ~std::uint64_t{0} / 2;
  for (; length >= 1; --length) {
    const std::uint64_t takes = std::uint64_t{1} << (longest - length);
    if (takes > room) break;
    best = std::min(
        best, std::uint64_t{sorted[at]} * length + best_limited_cost(sorted, at + 1, length, longest, room - takes));
  }
  return best;
}

TEST(HuffmanCodes, AreTheBestWithinTheLimit) {
  SimulatedRandom random(2);
  for (int i = 0; i < 200; ++i) {
    std::vector<std::uint32_t> counts(2 + random.below(9));
    for (std::uint32_t& count : counts) count = static_cast<std::uint32_t>(1 + random.below(1 << random.below(14)));
    std::ranges::sort(counts);
    const HuffmanCode code = HuffmanCode::for_counts(counts, 4);
    ASSERT_EQ(cost(code, counts), best_limited_cost(counts, 0, 4, 4, 16)) << i;
  }
}

// RFC 1951, 3.2.2: the example with its codes, written there highest bit first.
TEST(HuffmanCodes, AreNumberedAsTheStandardSays) {
  const std::uint8_t lengths[] = {3, 3, 3, 3, 3, 2, 4, 4};
  const HuffmanCode code = HuffmanCode::for_lengths(lengths);
  const std::uint16_t written[] = {0b010, 0b110, 0b001, 0b101, 0b011, 0b00, 0b0111, 0b1111};
  EXPECT_TRUE(std::ranges::equal(std::span(code.bits).first(8), written));
}

TEST(HuffmanCodes, NeverHaveLessThanTwoSymbols) {
  for (const std::vector<std::uint32_t>& counts : {std::vector<std::uint32_t>{0, 0, 0}, {0, 0, 7}, {5, 0, 0}}) {
    const HuffmanCode code = HuffmanCode::for_counts(counts, 15);
    EXPECT_EQ(std::ranges::count(code.lengths, 1), 2);
  }
}

}  // namespace
}  // namespace byre::test
