// Lengths and distances as symbols with extra bits (RFC 1951, 3.2.5).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace byre::format {

constexpr unsigned shortest_match = 3;
constexpr unsigned longest_match = 258;
constexpr unsigned deflate_window_bytes = 4096;  // of readers of compressed clusters (docs/format.md 8.3)
constexpr unsigned end_of_block = 256;
constexpr unsigned first_length_symbol = 257;
constexpr std::size_t literal_symbols = 286;
constexpr std::size_t distance_symbols = 24;  // up to 4096

// A byte, or bytes that occurred before.
struct DeflateToken {
  std::uint16_t length;  // 0: a byte
  std::uint16_t value;   // the byte, or how far back
};

struct DeflateSymbol {
  std::uint16_t symbol = 0;
  std::uint16_t first = 0;  // value that the extra bits count from
  std::uint8_t extra_bits = 0;
};

// Two symbols share a number of extra bits in distances, four in lengths.
constexpr DeflateSymbol symbol_in_groups(unsigned offset, unsigned group_bits) {
  const unsigned width = static_cast<unsigned>(std::bit_width(offset));
  if (width <= group_bits + 1) return {static_cast<std::uint16_t>(offset), static_cast<std::uint16_t>(offset), 0};
  const unsigned extra = width - 1 - group_bits;
  const unsigned group = offset >> extra;
  return {static_cast<std::uint16_t>((extra << group_bits) + group), static_cast<std::uint16_t>(group << extra),
          static_cast<std::uint8_t>(extra)};
}

constexpr DeflateSymbol make_length_symbol(unsigned length) {
  if (length < shortest_match) return {};
  DeflateSymbol found = symbol_in_groups(length - shortest_match, 2);
  if (length == longest_match) found = {28, longest_match - shortest_match, 0};
  found.symbol = static_cast<std::uint16_t>(found.symbol + first_length_symbol);
  found.first = static_cast<std::uint16_t>(found.first + shortest_match);
  return found;
}

inline constexpr auto length_symbol_table = [] {
  std::array<DeflateSymbol, longest_match + 1> table{};
  for (unsigned length = 0; length <= longest_match; ++length) table[length] = make_length_symbol(length);
  return table;
}();

// `length` is 3 to 258.
constexpr const DeflateSymbol& length_symbol(unsigned length) { return length_symbol_table[length]; }

// `distance` is 1 to 4096.
constexpr DeflateSymbol distance_symbol(unsigned distance) {
  DeflateSymbol found = symbol_in_groups(distance - 1, 1);
  ++found.first;
  return found;
}

static_assert(length_symbol(3).symbol == 257 && length_symbol(10).symbol == 264 && length_symbol(11).symbol == 265);
static_assert(length_symbol(257).symbol == 284 && length_symbol(257).first == 227);
static_assert(length_symbol(257).extra_bits == 5);
static_assert(length_symbol(258).symbol == 285 && length_symbol(258).extra_bits == 0);
static_assert(distance_symbol(4).symbol == 3 && distance_symbol(5).symbol == 4 && distance_symbol(6).symbol == 4);
static_assert(distance_symbol(4096).symbol == 23 && distance_symbol(4096).first == 3073);

}  // namespace byre::format
