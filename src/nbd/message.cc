// Lengths come from the other end: each is held against what is there before it is used.

#include "nbd/message.h"

#include "base/endian.h"
#include "base/text.h"
#include "nbd/protocol.h"

namespace byre::nbd {

MessageWriter& MessageWriter::put16(std::uint16_t value) {
  bytes_.resize(bytes_.size() + 2);
  store_be16(bytes_.data() + bytes_.size() - 2, value);
  return *this;
}

MessageWriter& MessageWriter::put32(std::uint32_t value) {
  bytes_.resize(bytes_.size() + 4);
  store_be32(bytes_.data() + bytes_.size() - 4, value);
  return *this;
}

MessageWriter& MessageWriter::put64(std::uint64_t value) {
  bytes_.resize(bytes_.size() + 8);
  store_be64(bytes_.data() + bytes_.size() - 8, value);
  return *this;
}

MessageWriter& MessageWriter::put(ConstBytes bytes) {
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  return *this;
}

MessageWriter& MessageWriter::put(std::string_view text) { return put(std::as_bytes(std::span(text))); }

MessageWriter& MessageWriter::put_counted(std::string_view text) {
  return put32(static_cast<std::uint32_t>(text.size())).put(text);
}

std::unexpected<Error> message_cut_short() {
  return fail(ErrorCode::invalid_argument, "the message ends before what its lengths announce");
}

Result<ConstBytes> MessageReader::take(std::size_t count) {
  if (left_.size() < count) return message_cut_short();
  const ConstBytes taken = left_.first(count);
  left_ = left_.subspan(count);
  return taken;
}

Result<std::uint16_t> MessageReader::number16() {
  BYRE_TRY(const ConstBytes bytes, take(2));
  return load_be16(bytes.data());
}

Result<std::uint32_t> MessageReader::number32() {
  BYRE_TRY(const ConstBytes bytes, take(4));
  return load_be32(bytes.data());
}

Result<std::uint64_t> MessageReader::number64() {
  BYRE_TRY(const ConstBytes bytes, take(8));
  return load_be64(bytes.data());
}

Result<std::string> MessageReader::string(std::size_t length_bytes) {
  if (length_bytes > longest_string_bytes) {
    return fail(ErrorCode::invalid_argument, "a string of {} bytes; {} are allowed", length_bytes,
                longest_string_bytes);
  }
  BYRE_TRY(const ConstBytes bytes, take(length_bytes));
  std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.find('\0') != std::string::npos) return fail(ErrorCode::invalid_argument, "a string has a NUL in it");
  return text;
}

Result<std::string> MessageReader::counted_string() {
  BYRE_TRY(const std::uint32_t length_bytes, number32());
  return string(length_bytes);
}

Result<void> MessageReader::end() const {
  if (left_.empty()) return {};
  return fail(ErrorCode::invalid_argument, "{} bytes behind the end of the message", left_.size());
}

}  // namespace byre::nbd
