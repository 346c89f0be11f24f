// LIST gives the names; then INFO and LIST_META_CONTEXT are asked for each. A server that refuses one of those has told
// less, which is no error.

#include "nbd/listing.h"

#include <array>
#include <optional>

#include "base/endian.h"
#include "base/text.h"
#include "nbd/inbox.h"
#include "nbd/message.h"
#include "nbd/option_data.h"
#include "nbd/protocol.h"

namespace byre::nbd {
namespace {

constexpr std::size_t most_exports = 10000;

struct Reply {
  OptionReply type;
  std::vector<std::byte> data;
};

bool is_final(OptionReply type) {
  return type == OptionReply::ack || static_cast<std::uint32_t>(type) >= static_cast<std::uint32_t>(1) << 31;
}

class Asker {
 public:
  explicit Asker(Socket& socket) : stream_(socket), inbox_(stream_) {}

  Task<Result<void>> greet();
  // All replies to one option, the final one last.
  Task<Result<std::vector<Reply>>> ask(Option option, ConstBytes data);
  Task<Result<void>> leave();

 private:
  Task<Result<Reply>> receive_reply(Option option);
  Task<Result<ConstBytes>> take(std::size_t count);
  Task<Result<void>> send(ConstBytes bytes);

  PlainStream stream_;
  Inbox inbox_;
};

Task<Result<void>> Asker::send(ConstBytes bytes) {
  const std::span<const ConstBytes> parts(&bytes, 1);
  co_return co_await stream_.send(parts);
}

Task<Result<ConstBytes>> Asker::take(std::size_t count) {
  if (count == 0) co_return ConstBytes{};
  BYRE_CO_TRY(const ConstBytes bytes, co_await inbox_.take(count));
  if (bytes.empty()) co_return fail(ErrorCode::io, "the server ended the connection");
  co_return bytes;
}

Task<Result<void>> Asker::greet() {
  BYRE_CO_TRY(const ConstBytes greeting, co_await take(18));
  const std::uint16_t flags = load_be16(greeting.data() + 16);
  if (load_be64(greeting.data()) != server_magic || load_be64(greeting.data() + 8) != option_magic ||
      (flags & handshake_fixed_newstyle) == 0) {
    co_return fail(ErrorCode::corrupt, "this is no NBD server of the fixed newstyle protocol");
  }
  MessageWriter answer;
  answer.put32(flags & (handshake_fixed_newstyle | handshake_no_zeroes));
  co_return co_await send(answer.bytes());
}

Task<Result<Reply>> Asker::receive_reply(Option option) {
  BYRE_CO_TRY(const ConstBytes header, co_await take(20));
  const std::uint32_t length_bytes = load_be32(header.data() + 16);
  if (load_be64(header.data()) != option_reply_magic ||
      load_be32(header.data() + 8) != static_cast<std::uint32_t>(option)) {
    co_return fail(ErrorCode::corrupt, "the server does not answer what it was asked");
  }
  if (length_bytes > longest_option_bytes) {
    co_return fail(ErrorCode::corrupt, "the server answers with {} bytes; {} are allowed", length_bytes,
                   longest_option_bytes);
  }
  Reply reply{static_cast<OptionReply>(load_be32(header.data() + 12)), {}};
  BYRE_CO_TRY(const ConstBytes data, co_await take(length_bytes));
  reply.data.assign(data.begin(), data.end());
  co_return reply;
}

Task<Result<std::vector<Reply>>> Asker::ask(Option option, ConstBytes data) {
  MessageWriter question;
  question.put64(option_magic).put32(static_cast<std::uint32_t>(option));
  question.put32(static_cast<std::uint32_t>(data.size())).put(data);
  BYRE_CO_CHECK(co_await send(question.bytes()));
  std::vector<Reply> replies;
  do {
    if (replies.size() > most_exports) co_return fail(ErrorCode::corrupt, "the server does not come to an end");
    BYRE_CO_TRY(Reply reply, co_await receive_reply(option));
    replies.push_back(std::move(reply));
  } while (!is_final(replies.back().type));
  co_return replies;
}

Task<Result<void>> Asker::leave() {
  [[maybe_unused]] const auto replies = co_await ask(Option::abort, {});  // it need not answer
  co_return Result<void>{};
}

Result<std::vector<OfferedExport>> read_names(const std::vector<Reply>& replies) {
  if (replies.back().type != OptionReply::ack) {
    return fail(ErrorCode::refused, "the server does not list its exports ({:#x})",
                static_cast<std::uint32_t>(replies.back().type));
  }
  std::vector<OfferedExport> exports;
  for (const Reply& reply : replies) {
    if (reply.type != OptionReply::server) continue;
    MessageReader reader(reply.data);
    OfferedExport found;
    BYRE_TRY(found.name, reader.counted_string());
    BYRE_TRY(found.description, reader.string(reader.left_bytes()));
    exports.push_back(std::move(found));
  }
  return exports;
}

Result<void> read_info(const std::vector<Reply>& replies, OfferedExport& into) {
  for (const Reply& reply : replies) {
    if (reply.type != OptionReply::info) continue;
    MessageReader reader(reply.data);
    BYRE_TRY(const std::uint16_t kind, reader.number16());
    if (kind == static_cast<std::uint16_t>(Info::export_size)) {
      BYRE_TRY(into.size_bytes, reader.number64());
      BYRE_TRY(into.flags, reader.number16());
    } else if (kind == static_cast<std::uint16_t>(Info::description)) {
      BYRE_TRY(into.description, reader.string(reader.left_bytes()));
    } else if (kind == static_cast<std::uint16_t>(Info::block_size)) {
      BYRE_TRY(into.smallest_bytes, reader.number32());
      BYRE_TRY(into.preferred_bytes, reader.number32());
      BYRE_TRY(into.largest_bytes, reader.number32());
    }
  }
  return {};
}

Result<void> read_contexts(const std::vector<Reply>& replies, OfferedExport& into) {
  for (const Reply& reply : replies) {
    if (reply.type != OptionReply::meta_context) continue;
    MessageReader reader(reply.data);
    BYRE_TRY([[maybe_unused]] const std::uint32_t number, reader.number32());
    BYRE_TRY(std::string name, reader.string(reader.left_bytes()));
    into.contexts.push_back(std::move(name));
  }
  return {};
}

Task<Result<void>> ask_about(Asker& asker, OfferedExport& exported) {
  constexpr std::array wanted{Info::description, Info::block_size};
  MessageWriter about;
  about.put_counted(exported.name).put16(wanted.size());
  for (const Info info : wanted) about.put16(static_cast<std::uint16_t>(info));
  BYRE_CO_TRY(const std::vector<Reply> info, co_await asker.ask(Option::info, about.bytes()));
  BYRE_CO_CHECK(read_info(info, exported));
  MessageWriter query;
  query.put_counted(exported.name).put32(0);
  BYRE_CO_TRY(const std::vector<Reply> contexts, co_await asker.ask(Option::list_meta_context, query.bytes()));
  co_return read_contexts(contexts, exported);
}

}  // namespace

Task<Result<std::vector<OfferedExport>>> list_exports(Socket& socket) {
  Asker asker(socket);
  BYRE_CO_CHECK(co_await asker.greet());
  BYRE_CO_TRY(const std::vector<Reply> structured, co_await asker.ask(Option::structured_reply, {}));
  BYRE_CO_TRY(const std::vector<Reply> names, co_await asker.ask(Option::list, {}));
  BYRE_CO_TRY(std::vector<OfferedExport> exports, read_names(names));
  for (OfferedExport& exported : exports) BYRE_CO_CHECK(co_await ask_about(asker, exported));
  BYRE_CO_CHECK(co_await asker.leave());
  co_return exports;
}

}  // namespace byre::nbd
