// Finds what a byte sequence has had before, within the window of 4 KiB.
#pragma once

#include <array>
#include <cstdint>

#include "byre/base/buffer.h"
#include "format/deflate_symbols.h"

namespace byre::format {

struct Match {
  unsigned length = 0;  // below 3: none
  unsigned distance = 0;
};

// Remembers each position by the hash of its first four bytes, in chains from new to old, and the newest by that of
// its first three. What earlier inputs left is out of reach by its number, so that nothing has to be cleared.
class MatchFinder {
 public:
  // At most 2 MiB, which stay where they are.
  void start(ConstBytes input);

  // The longest match at `at` that is longer than `longer_than`, the nearest of that length, and remembers `at`. Looks
  // at `chain` candidates at most, and no further than one of `good_enough` bytes.
  Match find(std::uint32_t at, unsigned longer_than, unsigned chain, unsigned good_enough);
  // Remembers the positions without looking.
  void skip(std::uint32_t begin, std::uint32_t end);

 private:
  static constexpr unsigned hash_bits = 13;
  static constexpr unsigned short_hash_bits = 12;

  std::uint32_t load(std::uint32_t at) const;
  std::uint32_t remember(std::uint32_t at, std::uint32_t first_bytes);
  unsigned common_length(std::uint32_t one, std::uint32_t other, unsigned most) const;

  const std::byte* input_ = nullptr;
  std::uint32_t size_ = 0;
  // Positions are stored as numbers that rise from input to input.
  std::uint32_t base_ = deflate_window_bytes;
  std::array<std::uint32_t, 1 << hash_bits> newest_{};
  std::array<std::uint32_t, 1 << short_hash_bits> newest_of_three_{};
  std::array<std::uint32_t, deflate_window_bytes> older_{};
};

}  // namespace byre::format
