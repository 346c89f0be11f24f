// The NBD protocol on the wire: numbers, and pure codecs of its messages (the specification is `proto.md` of the
// Network Block Device project). All integers are big-endian. Nothing here trusts a length that a client sent.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/base/result.h"

namespace byre::nbd {

// Negotiation.
inline constexpr std::uint64_t server_magic = 0x4e42444d41474943;  // "NBDMAGIC"
inline constexpr std::uint64_t option_magic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr std::uint64_t option_reply_magic = 0x3e889045565a9;
inline constexpr std::uint16_t handshake_fixed_newstyle = 1 << 0;  // the client's flags have the same bits
inline constexpr std::uint16_t handshake_no_zeroes = 1 << 1;
inline constexpr std::size_t longest_string_bytes = 4096;

enum class Option : std::uint32_t {
  export_name = 1,
  abort = 2,
  list = 3,
  start_tls = 5,
  info = 6,
  go = 7,
  structured_reply = 8,
  list_meta_context = 9,
  set_meta_context = 10,
  extended_headers = 11,
};

enum class OptionReply : std::uint32_t {
  ack = 1,
  server = 2,
  info = 3,
  meta_context = 4,
  error_unsupported = 0x80000001,
  error_policy = 0x80000002,
  error_invalid = 0x80000003,
  error_tls_required = 0x80000005,
  error_unknown = 0x80000006,
  error_shutdown = 0x80000007,
  error_too_big = 0x80000009,
  error_extended_headers_required = 0x8000000a,
};

enum class Info : std::uint16_t { export_size = 0, name = 1, description = 2, block_size = 3 };

// Transmission flags of an export.
namespace export_flag {
inline constexpr std::uint16_t has_flags = 1 << 0;
inline constexpr std::uint16_t read_only = 1 << 1;
inline constexpr std::uint16_t flush = 1 << 2;
inline constexpr std::uint16_t fua = 1 << 3;
inline constexpr std::uint16_t trim = 1 << 5;
inline constexpr std::uint16_t write_zeroes = 1 << 6;
inline constexpr std::uint16_t do_not_fragment = 1 << 7;
inline constexpr std::uint16_t multi_conn = 1 << 8;
inline constexpr std::uint16_t cache = 1 << 10;
inline constexpr std::uint16_t fast_zero = 1 << 11;
}  // namespace export_flag

// Transmission.
enum class Command : std::uint16_t {
  read = 0,
  write = 1,
  disconnect = 2,
  flush = 3,
  trim = 4,
  cache = 5,
  write_zeroes = 6,
  block_status = 7,
};

namespace command_flag {
inline constexpr std::uint16_t fua = 1 << 0;
inline constexpr std::uint16_t no_hole = 1 << 1;
inline constexpr std::uint16_t do_not_fragment = 1 << 2;
inline constexpr std::uint16_t one_extent = 1 << 3;
inline constexpr std::uint16_t fast_zero = 1 << 4;
inline constexpr std::uint16_t payload = 1 << 5;  // extended headers only: the length is that of a payload
}  // namespace command_flag

// Values of `error` in replies: Linux' numbers, whatever this system has.
enum class Errno : std::uint32_t {
  none = 0,
  eperm = 1,
  eio = 5,
  enomem = 12,
  einval = 22,
  enospc = 28,
  eoverflow = 75,
  enotsup = 95,
  eshutdown = 108,
};

// Which headers the client has asked for.
enum class Style { simple, structured, extended };

struct Request {
  std::uint16_t flags = 0;
  std::uint16_t command = 0;  // a number, since it need not be one that there is
  std::uint64_t cookie = 0;
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  bool has_payload = false;  // `length_bytes` of data follow the header

  bool is(Command wanted) const { return command == static_cast<std::uint16_t>(wanted); }
  bool has(std::uint16_t flag) const { return (flags & flag) != 0; }
};

constexpr std::size_t request_header_bytes(Style style) { return style == Style::extended ? 32 : 28; }

// From a header of that many bytes. Errors: corrupt (no request: the stream is out of step).
Result<Request> decode_request(Style style, ConstBytes header);

struct Extent {
  std::uint64_t length_bytes;
  std::uint32_t flags;
};

// A reply's header, with what fixed fields come before data.
class ReplyHeader {
 public:
  // Success without data.
  static ReplyHeader done(Style style, const Request& request);
  // The data of a read, all of it, follows.
  static ReplyHeader data(Style style, const Request& request);
  ConstBytes bytes() const { return {bytes_.data(), length_}; }

 private:
  friend std::vector<std::byte> error_reply(Style, const Request&, Errno, std::string_view);
  friend std::vector<std::byte> status_reply(Style, const Request&, std::uint32_t, const std::vector<Extent>&, bool);
  void put16(std::uint16_t value);
  void put32(std::uint32_t value);
  void put64(std::uint64_t value);
  void begin(Style style, const Request& request, bool last, std::uint16_t type, std::uint64_t payload_bytes);

  std::array<std::byte, 48> bytes_{};
  std::size_t length_ = 0;
};

// A whole reply. The message is for people; what is behind 4096 bytes of it is left out, as all of it is in simple
// ones.
std::vector<std::byte> error_reply(Style style, const Request& request, Errno error, std::string_view message);

// One chunk, the `last` of its reply or not. At least one extent; in structured replies each is below 4 GiB.
std::vector<std::byte> status_reply(Style style, const Request& request, std::uint32_t context,
                                    const std::vector<Extent>& extents, bool last);

}  // namespace byre::nbd
