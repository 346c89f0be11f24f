// Buffers of one size that go round, so that a long copy neither asks the system for memory nor touches new pages.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "byre/base/buffer.h"

namespace byre::ops {

class BufferPool {
 public:
  explicit BufferPool(std::size_t size_bytes) : size_bytes_(size_bytes) {}

  // A buffer of that size with any content; goes back to the pool, which must outlive it, when it is destroyed.
  class Loan {
   public:
    Loan(BufferPool& pool, Buffer buffer) : pool_(&pool), buffer_(std::move(buffer)) {}
    Loan(Loan&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), buffer_(std::move(other.buffer_)) {}
    Loan& operator=(Loan&&) = delete;
    ~Loan() {
      if (pool_) pool_->free_.push_back(std::move(buffer_));
    }
    Bytes first(std::size_t length_bytes) { return buffer_.bytes().first(length_bytes); }

   private:
    BufferPool* pool_;
    Buffer buffer_;
  };

  Loan take() {
    if (free_.empty()) return Loan(*this, Buffer(size_bytes_));
    Buffer buffer = std::move(free_.back());
    free_.pop_back();
    return Loan(*this, std::move(buffer));
  }

 private:
  std::size_t size_bytes_;
  std::vector<Buffer> free_;
};

}  // namespace byre::ops
