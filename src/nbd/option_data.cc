// Counts are held against the bytes that are there before anything is made as large as they say.

#include "nbd/option_data.h"

#include "nbd/message.h"

namespace byre::nbd {

Result<InfoRequest> decode_info_request(ConstBytes data) {
  MessageReader reader(data);
  InfoRequest request;
  BYRE_TRY(request.name, reader.counted_string());
  BYRE_TRY(const std::uint16_t count, reader.number16());
  if (reader.left_bytes() / 2 < count) return message_cut_short();
  request.wanted.reserve(count);
  for (unsigned i = 0; i < count; ++i) {
    BYRE_TRY(const std::uint16_t wanted, reader.number16());
    request.wanted.push_back(wanted);
  }
  BYRE_CHECK(reader.end());
  return request;
}

Result<ContextRequest> decode_context_request(ConstBytes data) {
  MessageReader reader(data);
  ContextRequest request;
  BYRE_TRY(request.name, reader.counted_string());
  BYRE_TRY(const std::uint32_t count, reader.number32());
  if (reader.left_bytes() / 4 < count) return message_cut_short();
  request.queries.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    BYRE_TRY(std::string query, reader.counted_string());
    request.queries.push_back(std::move(query));
  }
  BYRE_CHECK(reader.end());
  return request;
}

Result<std::string> decode_name(ConstBytes data) {
  MessageReader reader(data);
  return reader.string(data.size());
}

}  // namespace byre::nbd
