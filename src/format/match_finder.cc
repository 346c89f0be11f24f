// Candidates are compared eight bytes at a time. Those whose byte behind the longest match so far differs cannot be
// longer and are passed over.

#include "format/match_finder.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/endian.h"
#include "byre/base/assert.h"

namespace byre::format {
namespace {

constexpr std::uint32_t multiplier = 0x9e3779b1;
constexpr std::uint32_t largest_number = 0x7fffffff;

std::uint32_t hash(std::uint32_t bytes, unsigned bits) { return bytes * multiplier >> (32 - bits); }

}  // namespace

void MatchFinder::start(ConstBytes input) {
  BYRE_ASSERT(input.size() <= 2 << 20);
  base_ += size_;
  if (base_ > largest_number) {
    newest_.fill(0);
    newest_of_three_.fill(0);
    base_ = deflate_window_bytes;
  }
  input_ = input.data();
  size_ = static_cast<std::uint32_t>(input.size());
}

std::uint32_t MatchFinder::load(std::uint32_t at) const {
  std::uint32_t bytes;
  std::memcpy(&bytes, input_ + at, sizeof bytes);
  return bytes;
}

unsigned MatchFinder::common_length(std::uint32_t one, std::uint32_t other, unsigned most) const {
  unsigned length = 0;
  for (; length + 8 <= most; length += 8) {
    std::uint64_t first;
    std::uint64_t second;
    std::memcpy(&first, input_ + one + length, 8);
    std::memcpy(&second, input_ + other + length, 8);
    if (first != second) return length + static_cast<unsigned>(std::countr_zero(first ^ second)) / 8;
  }
  while (length < most && input_[one + length] == input_[other + length]) ++length;
  return length;
}

// Returns the number of the newest position with this hash before.
std::uint32_t MatchFinder::remember(std::uint32_t at, std::uint32_t first_bytes) {
  const std::uint32_t number = base_ + at;
  std::uint32_t& newest = newest_[hash(first_bytes, hash_bits)];
  const std::uint32_t before = newest;
  older_[number % deflate_window_bytes] = before;
  newest = number;
  newest_of_three_[hash(first_bytes << 8, short_hash_bits)] = number;
  return before;
}

void MatchFinder::skip(std::uint32_t begin, std::uint32_t end) {
  end = std::min(end, size_ < 4 ? 0 : size_ - 3);
  for (std::uint32_t at = begin; at < end; ++at) remember(at, load(at));
}

Match MatchFinder::find(std::uint32_t at, unsigned longer_than, unsigned chain, unsigned good_enough) {
  Match best{longer_than, 0};
  const unsigned most = std::min<std::uint32_t>(longest_match, size_ - at);
  if (most < 4) return {};
  const std::uint32_t number = base_ + at;
  const std::uint32_t oldest = std::max(base_, number - deflate_window_bytes);
  const std::uint32_t bytes = load(at);
  const std::uint32_t nearest_of_three = newest_of_three_[hash(bytes << 8, short_hash_bits)];
  std::uint32_t candidate = remember(at, bytes);
  if (longer_than >= most) return {};
  if (longer_than < shortest_match && nearest_of_three >= oldest &&
      (load(nearest_of_three - base_) ^ bytes) << 8 == 0) {
    best = {common_length(nearest_of_three - base_, at, most), number - nearest_of_three};
  }
  good_enough = std::min(good_enough, most);
  for (; candidate >= oldest && chain > 0 && best.length < good_enough; --chain) {
    const std::uint32_t there = candidate - base_;
    if (input_[there + best.length] == input_[at + best.length] && load(there) == bytes) {
      const unsigned length = common_length(there, at, most);
      if (length > best.length) best = {length, number - candidate};
    }
    const std::uint32_t next = older_[candidate % deflate_window_bytes];
    if (next >= candidate) break;
    candidate = next;
  }
  return best.distance == 0 ? Match{} : best;
}

}  // namespace byre::format
