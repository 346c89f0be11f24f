// Putting the negotiation's messages together and taking them apart.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/base/result.h"

namespace byre::nbd {

// Big-endian fields, one behind the other.
class MessageWriter {
 public:
  MessageWriter& put16(std::uint16_t value);
  MessageWriter& put32(std::uint32_t value);
  MessageWriter& put64(std::uint64_t value);
  MessageWriter& put(ConstBytes bytes);
  MessageWriter& put(std::string_view text);
  // Its length in 32 bits, then the text.
  MessageWriter& put_counted(std::string_view text);
  ConstBytes bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// Goes from field to field and never behind the end. Errors: invalid_argument, with words for the one who sent it.
class MessageReader {
 public:
  // The bytes must outlive it.
  explicit MessageReader(ConstBytes data) : left_(data) {}

  Result<std::uint16_t> number16();
  Result<std::uint32_t> number32();
  Result<std::uint64_t> number64();
  Result<std::string> string(std::size_t length_bytes);  // at most longest_string_bytes, without NUL
  Result<std::string> counted_string();
  Result<void> end() const;  // an error if something is left
  std::size_t left_bytes() const { return left_.size(); }

 private:
  Result<ConstBytes> take(std::size_t count);
  ConstBytes left_;
};

// What fields announce more of than there is.
std::unexpected<Error> message_cut_short();

}  // namespace byre::nbd
