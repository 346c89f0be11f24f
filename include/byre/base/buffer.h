// Owned byte buffers, aligned for direct I/O.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

namespace byre {

using Bytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;

// A heap block aligned to 4096 bytes, owned by one holder. Size 0 holds nothing.
class Buffer {
 public:
  enum class Fill { none, zero };

  Buffer() = default;
  explicit Buffer(std::size_t size_bytes, Fill fill = Fill::none);
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  Bytes bytes() { return {data_, size_}; }
  ConstBytes bytes() const { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// True if every byte is zero. Reads each byte at most once; vectorised by the compiler.
bool is_all_zero(ConstBytes bytes);

}  // namespace byre
