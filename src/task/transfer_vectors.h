// The memory side of a transfer that may take several system calls.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "byre/base/buffer.h"

namespace byre {

// The parts of a transfer that are still to be done.
class TransferVectors {
 public:
  explicit TransferVectors(Bytes target);
  explicit TransferVectors(std::span<const ConstBytes> parts);

  // What one call may take.
  iovec* data() { return &vectors()[first_]; }
  unsigned count() const;
  std::uint64_t left_bytes() const { return left_bytes_; }
  void advance(std::uint64_t done_bytes);

 private:
  static constexpr std::size_t inline_count = 8;
  iovec* vectors() { return many_.empty() ? few_.data() : many_.data(); }

  std::array<iovec, inline_count> few_{};
  std::vector<iovec> many_;  // only if there are more than fit in few_
  std::size_t first_ = 0;
  std::size_t end_ = 0;
  std::uint64_t left_bytes_ = 0;
};

}  // namespace byre
