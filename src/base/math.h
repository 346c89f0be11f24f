// Integer arithmetic that cannot wrap unnoticed (docs/format.md H-1).
#pragma once

#include <bit>
#include <cstdint>
#include <optional>

namespace byre {

constexpr std::uint64_t ceil_div(std::uint64_t value, std::uint64_t divisor) {
  return value / divisor + (value % divisor != 0);
}
// `alignment` is any value above 0. The result of round_up must fit: callers bound `value` first.
constexpr std::uint64_t round_down(std::uint64_t value, std::uint64_t alignment) { return value - value % alignment; }
constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t alignment) {
  return ceil_div(value, alignment) * alignment;
}
constexpr bool is_aligned(std::uint64_t value, std::uint64_t alignment) { return value % alignment == 0; }

constexpr std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}
constexpr std::optional<std::uint64_t> checked_multiply(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}
// True if [offset, offset + length) lies inside [0, limit), without computing a sum that could wrap.
constexpr bool fits_within(std::uint64_t offset, std::uint64_t length, std::uint64_t limit) {
  return offset <= limit && length <= limit - offset;
}

}  // namespace byre
