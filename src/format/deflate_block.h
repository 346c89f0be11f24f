// Blocks of a deflate stream (RFC 1951, 3.2.3).
#pragma once

#include <span>

#include "byre/base/buffer.h"
#include "format/deflate_symbols.h"

namespace byre::format {

// Bits, first one lowest in its byte. What does not fit into the target is counted, not written.
class BitWriter {
 public:
  explicit BitWriter(Bytes target) : target_(target) {}

  // At most 48 bits; those above `count` are zero.
  void put(std::uint64_t bits, unsigned count);
  // Fills up the last byte. Returns the bytes written, or 0 if they did not fit.
  std::size_t finish();
  bool is_full() const { return overflowed_; }

 private:
  void put_bytes();

  Bytes target_;
  std::size_t at_ = 0;
  std::uint64_t pending_ = 0;
  unsigned pending_bits_ = 0;
  bool overflowed_ = false;
};

// One block with the code, made for it or fixed, that takes less.
void write_deflate_block(BitWriter& writer, std::span<const DeflateToken> tokens, bool last);

}  // namespace byre::format
