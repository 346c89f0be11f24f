// Strong units: a guest offset cannot be used where a host offset is meant, nor either as a plain count.
#pragma once

#include <compare>
#include <cstdint>

namespace byre {

// A byte position in one address space. Adding a byte count moves it; the difference of two is a byte count.
template <class Space>
struct Offset {
  std::uint64_t bytes = 0;

  constexpr Offset() = default;
  constexpr explicit Offset(std::uint64_t offset_bytes) : bytes(offset_bytes) {}

  friend constexpr auto operator<=>(Offset, Offset) = default;
  friend constexpr Offset operator+(Offset at, std::uint64_t count_bytes) { return Offset(at.bytes + count_bytes); }
  friend constexpr std::uint64_t operator-(Offset later, Offset earlier) { return later.bytes - earlier.bytes; }
  constexpr Offset& operator+=(std::uint64_t count_bytes) {
    bytes += count_bytes;
    return *this;
  }
};

using GuestOffset = Offset<struct GuestSpace>;  // byte offset in the virtual disk
using HostOffset = Offset<struct HostSpace>;    // byte offset in the image file

}  // namespace byre
