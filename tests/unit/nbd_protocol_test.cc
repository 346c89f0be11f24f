// The messages of the NBD protocol, byte for byte, and option data that does not add up.

#include <gtest/gtest.h>

#include <array>
#include <initializer_list>
#include <string>
#include <vector>

#include "nbd/option_data.h"
#include "nbd/protocol.h"

namespace byre::nbd {
namespace {

std::vector<std::byte> bytes(std::initializer_list<unsigned> values) {
  std::vector<std::byte> made;
  for (const unsigned value : values) made.push_back(static_cast<std::byte>(value));
  return made;
}

std::vector<std::byte> copy(ConstBytes from) { return {from.begin(), from.end()}; }

std::vector<std::byte> text(std::string_view from) { return copy(std::as_bytes(std::span(from))); }

Request sample(Command command) {
  Request request;
  request.command = static_cast<std::uint16_t>(command);
  request.cookie = 0x0102030405060708;
  request.offset_bytes = 0x1112;
  request.length_bytes = 0x2122;
  return request;
}

TEST(NbdProtocol, RequestsAreDecodedInBothWidths) {
  auto header = bytes(
      {0x25, 0x60, 0x95, 0x13, 0, 1, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0x11, 0x12, 0, 0, 0x21, 0x22});
  const auto request = decode_request(Style::structured, header);
  ASSERT_TRUE(request);
  EXPECT_TRUE(request->is(Command::write) && request->has(command_flag::fua) && request->has_payload);
  EXPECT_EQ(request->cookie, 0x0102030405060708U);
  EXPECT_EQ(request->offset_bytes, 0x1112U);
  EXPECT_EQ(request->length_bytes, 0x2122U);

  header = bytes(
      {0x21, 0xe4, 0x1c, 0x71, 0, 0, 0, 4, 1, 2, 3, 4, 5, 6, 7, 8, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0});
  const auto extended = decode_request(Style::extended, header);
  ASSERT_TRUE(extended);
  EXPECT_TRUE(extended->is(Command::trim) && !extended->has_payload);
  EXPECT_EQ(extended->offset_bytes, std::uint64_t{1} << 63);
  EXPECT_EQ(extended->length_bytes, std::uint64_t{1} << 32);
  header[5] = std::byte{32};
  EXPECT_TRUE(decode_request(Style::extended, header)->has_payload) << "whatever the command";
}

TEST(NbdProtocol, AWrongMagicIsAnError) {
  std::vector<std::byte> header(28);
  EXPECT_FALSE(decode_request(Style::simple, header));
  header = bytes({0x21, 0xe4, 0x1c, 0x71, 0, 0, 0, 4, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_FALSE(decode_request(Style::simple, header)) << "that of the other width";
}

TEST(NbdProtocol, ReadsAreAnsweredInEachStyle) {
  const Request read = sample(Command::read);
  EXPECT_EQ(copy(ReplyHeader::data(Style::simple, read).bytes()),
            bytes({0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(copy(ReplyHeader::data(Style::structured, read).bytes()),
            bytes({0x66, 0x8e, 0x33, 0xef, 0,    1,    0, 1, 1, 2, 3, 4, 5,    6,
                   7,    8,    0,    0,    0x21, 0x2a, 0, 0, 0, 0, 0, 0, 0x11, 0x12}));
  EXPECT_EQ(copy(ReplyHeader::data(Style::extended, read).bytes()),
            bytes({0x6e, 0x8a, 0x27, 0x8c, 0, 1, 0, 1, 1, 2, 3,    4,    5, 6, 7, 8, 0, 0, 0,    0,
                   0,    0,    0x11, 0x12, 0, 0, 0, 0, 0, 0, 0x21, 0x2a, 0, 0, 0, 0, 0, 0, 0x11, 0x12}));
}

TEST(NbdProtocol, RepliesWithoutDataAreAsShortAsTheStyleAllows) {
  EXPECT_EQ(ReplyHeader::done(Style::structured, sample(Command::write)).bytes().size(), 16U) << "a simple one";
  EXPECT_EQ(ReplyHeader::done(Style::structured, sample(Command::read)).bytes().size(), 20U) << "never for a read";
  EXPECT_EQ(ReplyHeader::done(Style::extended, sample(Command::write)).bytes().size(), 32U);
}

TEST(NbdProtocol, ErrorsHaveAMessageWhereTheStyleHasRoom) {
  EXPECT_EQ(error_reply(Style::simple, sample(Command::read), Errno::enospc, "full"),
            bytes({0x67, 0x44, 0x66, 0x98, 0, 0, 0, 28, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(error_reply(Style::structured, sample(Command::read), Errno::enospc, "full"),
            bytes({0x66, 0x8e, 0x33, 0xef, 0,  1, 0x80, 1, 1,  2, 3, 4,   5,   6,   7,
                   8,    0,    0,    0,    10, 0, 0,    0, 28, 0, 4, 'f', 'u', 'l', 'l'}));
  EXPECT_EQ(error_reply(Style::extended, sample(Command::read), Errno::eio, std::string(5000, 'x')).size(),
            32U + 6 + longest_string_bytes);
}

TEST(NbdProtocol, ExtentsHaveTheWidthOfTheirStyle) {
  const std::vector<Extent> extents = {{512, 3}, {1024, 0}};
  EXPECT_EQ(status_reply(Style::structured, sample(Command::block_status), 1, extents, false),
            bytes({0x66, 0x8e, 0x33, 0xef, 0, 0, 0, 5, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 20,
                   0,    0,    0,    1,    0, 0, 2, 0, 0, 0, 0, 3, 0, 0, 4, 0, 0, 0, 0, 0}));
  const std::vector<Extent> long_one = {{std::uint64_t{5} << 32, 1}};
  EXPECT_EQ(
      status_reply(Style::extended, sample(Command::block_status), 0, long_one, true),
      bytes({0x6e, 0x8a, 0x27, 0x8c, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0x11, 0x12, 0, 0, 0, 0,
             0,    0,    0,    24,   0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0,    0,    0, 0, 0, 1}));
}

TEST(NbdOptionData, InfoRequestsAreDecoded) {
  const auto request = decode_info_request(bytes({0, 0, 0, 2, 'a', 'b', 0, 2, 0, 3, 0, 1}));
  ASSERT_TRUE(request);
  EXPECT_EQ(request->name, "ab");
  EXPECT_EQ(request->wanted, (std::vector<std::uint16_t>{3, 1}));
}

TEST(NbdOptionData, ContextRequestsAreDecoded) {
  const auto request = decode_context_request(bytes({0, 0, 0, 1, 'x', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 'b', ':'}));
  ASSERT_TRUE(request);
  EXPECT_EQ(request->name, "x");
  EXPECT_EQ(request->queries, (std::vector<std::string>{"", "b:"}));
}

// Every way to cut a good one short, and to put something behind it.
TEST(NbdOptionData, LengthsThatDoNotAddUpAreErrors) {
  const auto info = bytes({0, 0, 0, 2, 'a', 'b', 0, 2, 0, 3, 0, 1});
  const auto contexts = bytes({0, 0, 0, 1, 'x', 0, 0, 0, 1, 0, 0, 0, 2, 'b', ':'});
  for (std::size_t length = 0; length < info.size(); ++length) {
    EXPECT_FALSE(decode_info_request(ConstBytes(info).first(length))) << length;
  }
  for (std::size_t length = 0; length < contexts.size(); ++length) {
    EXPECT_FALSE(decode_context_request(ConstBytes(contexts).first(length))) << length;
  }
  auto longer = info;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(decode_info_request(longer));
  longer = contexts;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(decode_context_request(longer));
  EXPECT_FALSE(decode_context_request(bytes({0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}))) << "a count without queries";
  EXPECT_FALSE(decode_info_request(bytes({0xff, 0xff, 0xff, 0xff, 0, 0})));
}

TEST(NbdOptionData, StringsAreBounded) {
  EXPECT_EQ(decode_name(text(std::string(longest_string_bytes, 'x'))).value_or("").size(), longest_string_bytes);
  EXPECT_FALSE(decode_name(text(std::string(longest_string_bytes + 1, 'x'))));
  EXPECT_FALSE(decode_name(text(std::string_view("a\0b", 3))));
  EXPECT_EQ(decode_name({}).value_or("?"), "");
}

}  // namespace
}  // namespace byre::nbd
