// Lazy matching: a match is taken unless a better one begins at one of the next positions; what lies between is then
// written as bytes. A match counts four bits for each byte, less the logarithm of its distance.
//
// Left out: the cheapest sequence of matches for given codes takes three times as long for 1 % less.

#include "format/deflate_encoder.h"

#include <algorithm>
#include <bit>

#include "format/deflate_block.h"

namespace byre::format {
namespace {

// The codes of a short block fit better, and take room of their own.
constexpr std::size_t tokens_per_block = 8 << 10;
constexpr unsigned farthest_of_three = 2048;  // three bytes from farther away take more room than they save

int gain(const Match& match) {
  return static_cast<int>(4 * match.length) - static_cast<int>(std::bit_width(match.distance));
}

bool is_worth_it(const Match& match) {
  return match.length > shortest_match || (match.length == shortest_match && match.distance <= farthest_of_three);
}

}  // namespace

void DeflateEncoder::put_bytes(ConstBytes bytes) {
  for (const std::byte byte : bytes) tokens_.push_back({0, std::to_integer<std::uint16_t>(byte)});
}

// Replaces `match`, found at `at`, by a better one that begins soon behind; returns where it begins. The finder knows
// the positions before `known_end`.
std::uint32_t DeflateEncoder::settle(std::uint32_t at, Match& match, std::uint32_t& known_end,
                                     const DeflateEffort& effort) {
  for (unsigned ahead = 1; ahead <= effort.ahead && match.length < effort.good_enough; ++ahead) {
    const unsigned chain = std::max(effort.chain >> ahead, 1U);
    const Match later = finder_.find(at + ahead, match.length - 1, chain, effort.good_enough);
    known_end = at + ahead + 1;
    if (later.length == 0 || gain(later) <= gain(match) + static_cast<int>(4 * ahead) - 2) continue;
    match = later;
    at += ahead;
    ahead = 0;
  }
  return at;
}

void DeflateEncoder::parse(ConstBytes input, const DeflateEffort& effort) {
  finder_.start(input);
  tokens_.clear();
  for (std::uint32_t at = 0; at < input.size();) {
    Match match = finder_.find(at, shortest_match - 1, effort.chain, effort.good_enough);
    std::uint32_t known_end = at + 1;
    if (!is_worth_it(match)) {
      put_bytes(input.subspan(at, 1));
      at = known_end;
      continue;
    }
    const std::uint32_t begin = settle(at, match, known_end, effort);
    put_bytes(input.subspan(at, begin - at));
    tokens_.push_back({static_cast<std::uint16_t>(match.length), static_cast<std::uint16_t>(match.distance)});
    at = begin + match.length;
    finder_.skip(known_end, at);
  }
}

std::size_t DeflateEncoder::encode(ConstBytes input, Bytes target, const DeflateEffort& effort) {
  parse(input, effort);
  BitWriter writer(target);
  std::span<const DeflateToken> left(tokens_);
  do {
    // The last block takes what would make a small one.
    const std::size_t count = left.size() < 2 * tokens_per_block ? left.size() : tokens_per_block;
    write_deflate_block(writer, left.first(count), count == left.size());
    left = left.subspan(count);
  } while (!left.empty() && !writer.is_full());
  return writer.finish();
}

}  // namespace byre::format
