// What clients send with the options of the negotiation, decoded and bounded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "nbd/protocol.h"

namespace byre::nbd {

// The longest that any of them needs to be: two strings, and room for requests and queries.
inline constexpr std::uint32_t longest_option_bytes = 64 << 10;

// Of INFO and GO.
struct InfoRequest {
  std::string name;
  std::vector<std::uint16_t> wanted;
};
// Errors: invalid_argument (lengths that do not add up, a string above 4096 bytes or with a NUL).
Result<InfoRequest> decode_info_request(ConstBytes data);

// Of LIST_META_CONTEXT and SET_META_CONTEXT.
struct ContextRequest {
  std::string name;
  std::vector<std::string> queries;
};
Result<ContextRequest> decode_context_request(ConstBytes data);

// An export's name by itself.
Result<std::string> decode_name(ConstBytes data);

}  // namespace byre::nbd
