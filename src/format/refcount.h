// Reference counts of 1 to 64 bits inside a refcount block (docs/format.md section 6). A block is one cluster; indexes
// are below Geometry::refcounts_per_block(). Widths of 8 bits and more are big-endian, smaller ones fill each byte from
// the least significant bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/endian.h"

namespace byre::format {

constexpr std::uint64_t max_refcount(unsigned refcount_order) {
  return ~std::uint64_t{0} >> (64 - (1u << refcount_order));
}

inline std::uint64_t load_refcount(const std::byte* block, unsigned refcount_order, std::uint64_t index) {
  switch (refcount_order) {
    case 3: return static_cast<std::uint64_t>(block[index]);
    case 4: return load_be16(block + index * 2);
    case 5: return load_be32(block + index * 4);
    case 6: return load_be64(block + index * 8);
    default: break;
  }
  const std::uint64_t bit = index << refcount_order;
  return (static_cast<std::uint64_t>(block[bit / 8]) >> (bit % 8)) & max_refcount(refcount_order);
}

// Asserts value <= max_refcount(refcount_order): a count that does not fit is refused long before.
void store_refcount(std::byte* block, unsigned refcount_order, std::uint64_t index, std::uint64_t value);

// Returns the index of the first zero count in [first, last), or `last`. Looks at 64 bits at a time.
std::uint64_t find_zero_refcount(const std::byte* block, unsigned refcount_order, std::uint64_t first,
                                 std::uint64_t last);

}  // namespace byre::format
