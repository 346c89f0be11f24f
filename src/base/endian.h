// Big-endian loads and stores, from any alignment (docs/format.md section 0: all integers are big-endian).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace byre {

template <class Integer>
inline Integer load_big_endian(const std::byte* from) {
  Integer value;
  std::memcpy(&value, from, sizeof value);
  if constexpr (sizeof(Integer) > 1 && std::endian::native == std::endian::little) value = std::byteswap(value);
  return value;
}
template <class Integer>
inline void store_big_endian(std::byte* to, Integer value) {
  if constexpr (sizeof(Integer) > 1 && std::endian::native == std::endian::little) value = std::byteswap(value);
  std::memcpy(to, &value, sizeof value);
}

inline std::uint16_t load_be16(const std::byte* from) { return load_big_endian<std::uint16_t>(from); }
inline std::uint32_t load_be32(const std::byte* from) { return load_big_endian<std::uint32_t>(from); }
inline std::uint64_t load_be64(const std::byte* from) { return load_big_endian<std::uint64_t>(from); }
inline void store_be16(std::byte* to, std::uint16_t value) { store_big_endian(to, value); }
inline void store_be32(std::byte* to, std::uint32_t value) { store_big_endian(to, value); }
inline void store_be64(std::byte* to, std::uint64_t value) { store_big_endian(to, value); }

}  // namespace byre
