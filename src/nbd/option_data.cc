// A cursor that never goes behind the end: each step says whether it could be taken.

#include "nbd/option_data.h"

#include "base/endian.h"
#include "base/text.h"

namespace byre::nbd {
namespace {

std::unexpected<Error> cut_short() {
  return fail(ErrorCode::invalid_argument, "the option's data ends before what its lengths announce");
}

class Cursor {
 public:
  explicit Cursor(ConstBytes data) : left_(data) {}

  Result<std::uint16_t> number16() {
    if (left_.size() < 2) return cut_short();
    return load_be16(take(2).data());
  }
  Result<std::uint32_t> number32() {
    if (left_.size() < 4) return cut_short();
    return load_be32(take(4).data());
  }
  Result<std::string> string(std::size_t length_bytes) {
    if (length_bytes > longest_string_bytes) {
      return fail(ErrorCode::invalid_argument, "a string of {} bytes; {} are allowed", length_bytes,
                  longest_string_bytes);
    }
    if (left_.size() < length_bytes) return cut_short();
    const ConstBytes bytes = take(length_bytes);
    std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (text.find('\0') != std::string::npos) return fail(ErrorCode::invalid_argument, "a string has a NUL in it");
    return text;
  }
  Result<std::string> counted_string() {
    BYRE_TRY(const std::uint32_t length_bytes, number32());
    return string(length_bytes);
  }
  Result<void> end() const {
    if (left_.empty()) return {};
    return fail(ErrorCode::invalid_argument, "{} bytes behind the option's data", left_.size());
  }
  std::size_t left_bytes() const { return left_.size(); }

 private:
  ConstBytes take(std::size_t count) {
    const ConstBytes taken = left_.first(count);
    left_ = left_.subspan(count);
    return taken;
  }
  ConstBytes left_;
};

}  // namespace

Result<InfoRequest> decode_info_request(ConstBytes data) {
  Cursor cursor(data);
  InfoRequest request;
  BYRE_TRY(request.name, cursor.counted_string());
  BYRE_TRY(const std::uint16_t count, cursor.number16());
  if (cursor.left_bytes() / 2 < count) return cut_short();
  request.wanted.reserve(count);
  for (unsigned i = 0; i < count; ++i) {
    BYRE_TRY(const std::uint16_t wanted, cursor.number16());
    request.wanted.push_back(wanted);
  }
  BYRE_CHECK(cursor.end());
  return request;
}

Result<ContextRequest> decode_context_request(ConstBytes data) {
  Cursor cursor(data);
  ContextRequest request;
  BYRE_TRY(request.name, cursor.counted_string());
  BYRE_TRY(const std::uint32_t count, cursor.number32());
  if (cursor.left_bytes() / 4 < count) return cut_short();
  request.queries.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    BYRE_TRY(std::string query, cursor.counted_string());
    request.queries.push_back(std::move(query));
  }
  BYRE_CHECK(cursor.end());
  return request;
}

Result<std::string> decode_name(ConstBytes data) {
  Cursor cursor(data);
  return cursor.string(data.size());
}

}  // namespace byre::nbd
