// The search treats 64 bits of the block as lanes of one count each. (v - ones) & ~v & tops has a lane's top bit set if
// the lane is zero, and below the lowest such lane nothing is set. Read as a little-endian word, lanes stand in index
// order for every width: bytes do, and so do counts inside a byte. Within a lane the byte order does not matter for
// being zero.
#include "format/refcount.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "byre/base/assert.h"

namespace byre::format {
namespace {

std::uint64_t load_little_endian(const std::byte* from) {
  std::uint64_t word;
  std::memcpy(&word, from, sizeof word);
  return std::endian::native == std::endian::little ? word : std::byteswap(word);
}

std::uint64_t find_zero_one_by_one(const std::byte* block, unsigned refcount_order, std::uint64_t first,
                                   std::uint64_t last) {
  while (first < last && load_refcount(block, refcount_order, first) != 0) ++first;
  return first;
}

}  // namespace

void store_refcount(std::byte* block, unsigned refcount_order, std::uint64_t index, std::uint64_t value) {
  BYRE_ASSERT(value <= max_refcount(refcount_order));
  switch (refcount_order) {
    case 3: block[index] = static_cast<std::byte>(value); return;
    case 4: store_be16(block + index * 2, static_cast<std::uint16_t>(value)); return;
    case 5: store_be32(block + index * 4, static_cast<std::uint32_t>(value)); return;
    case 6: store_be64(block + index * 8, value); return;
    default: break;
  }
  const std::uint64_t bit = index << refcount_order;
  const auto shift = static_cast<unsigned>(bit % 8);
  const auto mask = static_cast<unsigned>(max_refcount(refcount_order)) << shift;
  const auto old_byte = static_cast<unsigned>(block[bit / 8]);
  block[bit / 8] = static_cast<std::byte>((old_byte & ~mask) | static_cast<unsigned>(value) << shift);
}

std::uint64_t find_zero_refcount(const std::byte* block, unsigned refcount_order, std::uint64_t first,
                                 std::uint64_t last) {
  const unsigned lanes = 64u >> refcount_order;
  const std::uint64_t ones = ~std::uint64_t{0} / max_refcount(refcount_order);
  const std::uint64_t tops = ones << ((1u << refcount_order) - 1);

  const std::uint64_t head_end = std::min(last, (first + lanes - 1) / lanes * lanes);
  first = find_zero_one_by_one(block, refcount_order, first, head_end);
  if (first < head_end) return first;
  for (; first < last && last - first >= lanes; first += lanes) {
    const std::uint64_t word = load_little_endian(block + (first / lanes) * 8);
    const std::uint64_t zero_lanes = (word - ones) & ~word & tops;
    if (zero_lanes != 0) return first + (static_cast<unsigned>(std::countr_zero(zero_lanes)) >> refcount_order);
  }
  return find_zero_one_by_one(block, refcount_order, first, last);
}

}  // namespace byre::format
