#include "byre/base/buffer.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace byre {

Buffer::Buffer(std::size_t size_bytes, Fill fill) : size_(size_bytes) {
  if (size_bytes == 0) return;
  data_ = static_cast<std::byte*>(::operator new(size_bytes, std::align_val_t(4096)));
  if (fill == Fill::zero) std::memset(data_, 0, size_bytes);
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Buffer::~Buffer() {
  if (data_) ::operator delete(data_, std::align_val_t(4096));
}

bool is_all_zero(ConstBytes bytes) {
  constexpr std::size_t block_bytes = 256;
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= block_bytes; at += block_bytes, left -= block_bytes) {
    std::uint64_t any = 0;
    for (std::size_t i = 0; i < block_bytes; i += sizeof any) {
      std::uint64_t word;
      std::memcpy(&word, at + i, sizeof word);
      any |= word;
    }
    if (any != 0) return false;
  }
  for (; left > 0; ++at, --left) {
    if (*at != std::byte{0}) return false;
  }
  return true;
}

}  // namespace byre
