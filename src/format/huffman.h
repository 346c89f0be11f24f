// Huffman codes of limited length, as deflate writes them (RFC 1951, 3.2.2).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace byre::format {

// The code of up to 288 symbols: none with a length of 0, else the bits in the order in which they are written, first
// bit lowest.
struct HuffmanCode {
  static constexpr std::size_t most_symbols = 288;

  std::array<std::uint8_t, most_symbols> lengths{};
  std::array<std::uint16_t, most_symbols> bits{};

  // The best code for symbols that occur so often, none longer than `longest_bits` (at most 15). At least two symbols
  // get a code, since some decoders refuse an incomplete one; counts.size() is at least 2.
  static HuffmanCode for_counts(std::span<const std::uint32_t> counts, unsigned longest_bits);
  static HuffmanCode for_lengths(std::span<const std::uint8_t> lengths);
};

}  // namespace byre::format
