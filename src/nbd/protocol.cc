// Three styles of replies, one of which a connection uses throughout: a simple one has an error number and no length,
// a structured one is made of chunks with a type and a length, an extended one has those and the request's offset.

#include "nbd/protocol.h"

#include <algorithm>

#include "base/endian.h"
#include "base/text.h"
#include "byre/base/assert.h"

namespace byre::nbd {
namespace {

constexpr std::uint32_t request_magic = 0x25609513;
constexpr std::uint32_t extended_request_magic = 0x21e41c71;
constexpr std::uint32_t simple_reply_magic = 0x67446698;
constexpr std::uint32_t structured_reply_magic = 0x668e33ef;
constexpr std::uint32_t extended_reply_magic = 0x6e8a278c;
constexpr std::uint16_t reply_done = 1 << 0;

enum ReplyType : std::uint16_t {
  type_none = 0,
  type_offset_data = 1,
  type_block_status = 5,
  type_block_status_extended = 6,
  type_error = (1 << 15) + 1,
};

void append(std::vector<std::byte>& to, ConstBytes bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

void append32(std::vector<std::byte>& to, std::uint32_t value) {
  to.resize(to.size() + 4);
  store_be32(to.data() + to.size() - 4, value);
}

void append64(std::vector<std::byte>& to, std::uint64_t value) {
  to.resize(to.size() + 8);
  store_be64(to.data() + to.size() - 8, value);
}

}  // namespace

Result<Request> decode_request(Style style, ConstBytes header) {
  BYRE_ASSERT(header.size() == request_header_bytes(style));
  const bool extended = style == Style::extended;
  const std::uint32_t magic = load_be32(header.data());
  const std::uint32_t wanted = extended ? extended_request_magic : request_magic;
  if (magic != wanted) {
    return fail(ErrorCode::corrupt, "a request begins with {:#x}, not {:#x}", magic, wanted);
  }
  Request request;
  request.flags = load_be16(header.data() + 4);
  request.command = load_be16(header.data() + 6);
  request.cookie = load_be64(header.data() + 8);
  request.offset_bytes = load_be64(header.data() + 16);
  request.length_bytes = extended ? load_be64(header.data() + 24) : load_be32(header.data() + 24);
  request.has_payload = extended ? request.has(command_flag::payload) : request.is(Command::write);
  return request;
}

void ReplyHeader::put16(std::uint16_t value) {
  store_be16(bytes_.data() + length_, value);
  length_ += 2;
}

void ReplyHeader::put32(std::uint32_t value) {
  store_be32(bytes_.data() + length_, value);
  length_ += 4;
}

void ReplyHeader::put64(std::uint64_t value) {
  store_be64(bytes_.data() + length_, value);
  length_ += 8;
}

void ReplyHeader::begin(Style style, const Request& request, bool last, std::uint16_t type,
                        std::uint64_t payload_bytes) {
  put32(style == Style::extended ? extended_reply_magic : structured_reply_magic);
  put16(last ? reply_done : 0);
  put16(type);
  put64(request.cookie);
  if (style == Style::extended) {
    put64(request.offset_bytes);
    put64(payload_bytes);
  } else {
    put32(static_cast<std::uint32_t>(payload_bytes));
  }
}

ReplyHeader ReplyHeader::done(Style style, const Request& request) {
  ReplyHeader header;
  if (style == Style::extended) {
    header.begin(style, request, true, type_none, 0);
    return header;
  }
  // Without data a simple one will do, and is shorter, but not for a read where others were agreed on.
  if (style == Style::structured && request.is(Command::read)) {
    header.begin(style, request, true, type_none, 0);
    return header;
  }
  header.put32(simple_reply_magic);
  header.put32(0);
  header.put64(request.cookie);
  return header;
}

ReplyHeader ReplyHeader::data(Style style, const Request& request) {
  if (style == Style::simple) return done(style, request);
  ReplyHeader header;
  header.begin(style, request, true, type_offset_data, 8 + request.length_bytes);
  header.put64(request.offset_bytes);
  return header;
}

std::vector<std::byte> error_reply(Style style, const Request& request, Errno error, std::string_view message) {
  ReplyHeader header;
  if (style == Style::simple) {
    header.put32(simple_reply_magic);
    header.put32(static_cast<std::uint32_t>(error));
    header.put64(request.cookie);
    message = {};
  } else {
    message = message.substr(0, longest_string_bytes);
    header.begin(style, request, true, type_error, 6 + message.size());
    header.put32(static_cast<std::uint32_t>(error));
    header.put16(static_cast<std::uint16_t>(message.size()));
  }
  std::vector<std::byte> reply;
  append(reply, header.bytes());
  append(reply, std::as_bytes(std::span(message)));
  return reply;
}

std::vector<std::byte> status_reply(Style style, const Request& request, std::uint32_t context,
                                    const std::vector<Extent>& extents, bool last) {
  BYRE_ASSERT(!extents.empty() && style != Style::simple);
  const bool extended = style == Style::extended;
  ReplyHeader header;
  header.begin(style, request, last, extended ? type_block_status_extended : type_block_status,
               extended ? 8 + 16 * extents.size() : 4 + 8 * extents.size());
  header.put32(context);
  if (extended) header.put32(static_cast<std::uint32_t>(extents.size()));
  std::vector<std::byte> reply;
  append(reply, header.bytes());
  for (const Extent& extent : extents) {
    if (extended) {
      append64(reply, extent.length_bytes);
      append64(reply, extent.flags);
    } else {
      append32(reply, static_cast<std::uint32_t>(extent.length_bytes));
      append32(reply, extent.flags);
    }
  }
  return reply;
}

}  // namespace byre::nbd
