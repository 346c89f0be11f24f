// Lengths by package-merge: for each bit of the longest code, a list of all symbols merged with the pairs of the list
// before, cheapest first. The first 2n - 2 items of the last list make the best code; a symbol's length is the number
// of lists in which it is among those taken.

#include "format/huffman.h"

#include <algorithm>
#include <ranges>
#include <utility>
#include <vector>

#include "byre/base/assert.h"

namespace byre::format {
namespace {

constexpr unsigned most_bits = 15;

struct Leaf {
  std::uint64_t count;
  std::uint16_t symbol;
};

// Rarest first; those that never occur are left out as long as two remain.
std::vector<Leaf> sorted_leaves(std::span<const std::uint32_t> counts) {
  std::vector<Leaf> leaves;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] > 0) leaves.push_back({counts[i], static_cast<std::uint16_t>(i)});
  }
  for (std::size_t i = 0; leaves.size() < 2; ++i) {
    if (counts[i] == 0) leaves.push_back({1, static_cast<std::uint16_t>(i)});
  }
  std::ranges::sort(leaves, {}, [](const Leaf& leaf) { return std::pair(leaf.count, leaf.symbol); });
  return leaves;
}

// Merges the leaves with pairs of `weights`, which it replaces; returns which items are leaves.
std::vector<bool> next_list(const std::vector<Leaf>& leaves, std::vector<std::uint64_t>& weights) {
  std::vector<std::uint64_t> merged;
  std::vector<bool> is_leaf;
  merged.reserve(leaves.size() + weights.size() / 2);
  is_leaf.reserve(merged.capacity());
  std::size_t leaf = 0;
  std::size_t pair = 0;
  while (leaf < leaves.size() || pair + 1 < weights.size()) {
    const bool has_pair = pair + 1 < weights.size();
    const std::uint64_t package = has_pair ? weights[pair] + weights[pair + 1] : 0;
    const bool take_leaf = leaf < leaves.size() && (!has_pair || leaves[leaf].count <= package);
    is_leaf.push_back(take_leaf);
    merged.push_back(take_leaf ? leaves[leaf].count : package);
    if (take_leaf) {
      ++leaf;
    } else {
      pair += 2;
    }
  }
  weights = std::move(merged);
  return is_leaf;
}

std::uint16_t reversed(unsigned code, unsigned length) {
  unsigned result = 0;
  for (unsigned i = 0; i < length; ++i) result |= (code >> i & 1U) << (length - 1 - i);
  return static_cast<std::uint16_t>(result);
}

}  // namespace

HuffmanCode HuffmanCode::for_counts(std::span<const std::uint32_t> counts, unsigned longest_bits) {
  BYRE_ASSERT(counts.size() >= 2 && counts.size() <= most_symbols && longest_bits <= most_bits);
  const std::vector<Leaf> leaves = sorted_leaves(counts);
  std::vector<std::uint64_t> weights;
  std::vector<std::vector<bool>> lists;
  lists.reserve(longest_bits);
  for (unsigned i = 0; i < longest_bits; ++i) lists.push_back(next_list(leaves, weights));
  std::array<std::uint8_t, most_symbols> lengths{};
  std::ptrdiff_t taken = 2 * std::ssize(leaves) - 2;
  for (const std::vector<bool>& list : lists | std::views::reverse) {
    const std::ptrdiff_t leaf_count = std::count(list.begin(), list.begin() + taken, true);
    for (std::ptrdiff_t i = 0; i < leaf_count; ++i) ++lengths[leaves[static_cast<std::size_t>(i)].symbol];
    taken = 2 * (taken - leaf_count);
  }
  return for_lengths(lengths);
}

HuffmanCode HuffmanCode::for_lengths(std::span<const std::uint8_t> lengths) {
  HuffmanCode code;
  std::ranges::copy(lengths, code.lengths.begin());
  std::array<unsigned, most_bits + 1> of_length{};
  for (const std::uint8_t length : lengths) ++of_length[length];
  of_length[0] = 0;
  std::array<unsigned, most_bits + 1> next{};
  for (unsigned bits = 1; bits <= most_bits; ++bits) next[bits] = (next[bits - 1] + of_length[bits - 1]) << 1;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] > 0) code.bits[i] = reversed(next[lengths[i]]++, lengths[i]);
  }
  return code;
}

}  // namespace byre::format
