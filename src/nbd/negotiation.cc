// Options come one by one, each with its length in front, and each gets its replies before the next one is read. An
// option that is not known, too long or malformed is answered with an error and skipped; only what cannot be skipped,
// or must not be answered, ends the connection.

#include "nbd/negotiation.h"

#include <algorithm>
#include <array>

#include "base/endian.h"
#include "base/text.h"

namespace byre::nbd {
namespace {

// Longer than any that would be answered, it is not even skipped.
constexpr std::uint32_t longest_skipped_bytes = 1 << 20;

void put_reply(MessageWriter& to, std::uint32_t option, OptionReply type, ConstBytes data = {}) {
  to.put64(option_reply_magic).put32(option).put32(static_cast<std::uint32_t>(type));
  to.put32(static_cast<std::uint32_t>(data.size())).put(data);
}

// A query stands for a context of its name; one that ends behind the colon, for all of that namespace.
bool selects(std::string_view query, std::string_view name) {
  return query == name || (query.ends_with(':') && name.starts_with(query));
}

std::unexpected<Error> left() { return fail(ErrorCode::io, "the client left during the negotiation"); }

}  // namespace

Task<Result<Agreement>> Negotiation::run() {
  BYRE_CO_CHECK(co_await greet());
  for (;;) {
    BYRE_CO_TRY(const Next next, co_await answer_one());
    if (next == Next::end) co_return Agreement{};
    if (next == Next::transmission) co_return std::move(agreement_);
  }
}

Task<Result<void>> Negotiation::greet() {
  MessageWriter greeting;
  greeting.put64(server_magic).put64(option_magic).put16(handshake_fixed_newstyle | handshake_no_zeroes);
  BYRE_CO_CHECK(co_await send(greeting.bytes()));
  BYRE_CO_TRY(const ConstBytes answer, co_await wire_.inbox().take(4));
  if (answer.empty()) co_return left();
  const std::uint32_t flags = load_be32(answer.data());
  if ((flags & ~std::uint32_t{handshake_fixed_newstyle | handshake_no_zeroes}) != 0) {
    co_return fail(ErrorCode::refused, "the client has unknown flags {:#x}", flags);
  }
  if ((flags & handshake_fixed_newstyle) == 0) {
    co_return fail(ErrorCode::refused, "the client does not speak the fixed newstyle protocol (its flags: {:#x})",
                   flags);
  }
  no_zeroes_ = (flags & handshake_no_zeroes) != 0;
  co_return Result<void>{};
}

Task<Result<Negotiation::Next>> Negotiation::answer_one() {
  BYRE_CO_TRY(const ConstBytes bytes, co_await wire_.inbox().take(16));
  if (bytes.empty()) co_return left();
  if (load_be64(bytes.data()) != option_magic) {
    co_return fail(ErrorCode::corrupt, "an option begins with {:#x}, not {:#x}", load_be64(bytes.data()), option_magic);
  }
  const Header header{load_be32(bytes.data() + 8), load_be32(bytes.data() + 12)};
  if (header.length_bytes > longest_option_bytes) {
    if (header.length_bytes > longest_skipped_bytes || header.is(Option::export_name)) {
      co_return fail(ErrorCode::refused, "option {} comes with {} bytes; {} are allowed", header.option,
                     header.length_bytes, longest_option_bytes);
    }
    BYRE_CO_CHECK(co_await wire_.inbox().skip(header.length_bytes));
    BYRE_CO_CHECK(co_await refuse(header, OptionReply::error_too_big, "the option is too long"));
    co_return Next::option;
  }
  ConstBytes data;
  if (header.length_bytes > 0) {
    BYRE_CO_TRY(data, co_await wire_.inbox().take(header.length_bytes));
    if (data.empty()) co_return left();
  }
  co_return co_await answer(header, data);
}

Task<Result<Negotiation::Next>> Negotiation::answer(Header header, ConstBytes data) {
  if (header.is(Option::export_name)) co_return co_await enter_by_name(data);
  if (header.is(Option::abort)) {
    [[maybe_unused]] const auto sent = co_await reply(header, OptionReply::ack);  // it need not wait for that
    co_return Next::end;
  }
  if (policy_.is_stopping()) {
    BYRE_CO_CHECK(co_await refuse(header, OptionReply::error_shutdown, "the server is about to end"));
    co_return Next::option;
  }
  if (needs_tls() && !header.is(Option::start_tls)) {
    BYRE_CO_CHECK(co_await refuse(header, OptionReply::error_tls_required, "this server talks over TLS only"));
    co_return Next::option;
  }
  switch (static_cast<Option>(header.option)) {
    case Option::info:
    case Option::go: co_return co_await inform(header, data);
    case Option::list: BYRE_CO_CHECK(co_await list(header, data)); break;
    case Option::structured_reply: BYRE_CO_CHECK(co_await choose_style(header, data, Style::structured)); break;
    case Option::extended_headers: BYRE_CO_CHECK(co_await choose_style(header, data, Style::extended)); break;
    case Option::list_meta_context:
    case Option::set_meta_context: BYRE_CO_CHECK(co_await contexts(header, data)); break;
    case Option::start_tls: BYRE_CO_CHECK(co_await start_tls(header, data)); break;
    default: BYRE_CO_CHECK(co_await refuse(header, OptionReply::error_unsupported, "unknown option"));
  }
  co_return Next::option;
}

// The only option whose answer has no room for an error.
Task<Result<Negotiation::Next>> Negotiation::enter_by_name(ConstBytes data) {
  if (needs_tls()) co_return fail(ErrorCode::refused, "an export was asked for without TLS");
  BYRE_CO_TRY(const std::string name, decode_name(data));
  const Export* exported = find(name);
  if (!exported) co_return fail(ErrorCode::not_found, "there is no export '{}'", escape_untrusted(name));
  if (agreement_.style == Style::extended) {
    co_return fail(ErrorCode::refused,
                   "an export was asked for by its name alone after extended headers were agreed on");
  }
  if (policy_.is_stopping() || !policy_.take_place()) co_return fail(ErrorCode::refused, "there is no room for it now");
  MessageWriter answer;
  answer.put64(exported->part.size()).put16(flags_of(*exported, agreement_.style));
  constexpr std::array<std::byte, 124> zeroes{};
  if (!no_zeroes_) answer.put(zeroes);
  BYRE_CO_CHECK(co_await send(answer.bytes()));
  if (contexts_of_ != exported) agreement_.contexts.clear();
  agreement_.exported = exported;
  co_return Next::transmission;
}

bool Negotiation::needs_tls() const { return options_.tls.mode == TlsMode::require && !wire_.is_encrypted(); }

// What was agreed on before it counts no more: somebody on the way may have said it.
Task<Result<void>> Negotiation::start_tls(Header header, ConstBytes data) {
  if (wire_.is_encrypted()) co_return co_await refuse(header, OptionReply::error_invalid, "this is TLS already");
  if (!wire_.can_encrypt()) {
    co_return co_await refuse(header, OptionReply::error_policy, "this server does without TLS");
  }
  if (!data.empty()) co_return co_await refuse(header, OptionReply::error_invalid, "STARTTLS takes no data");
  agreement_ = {};
  contexts_of_ = nullptr;
  BYRE_CO_CHECK(co_await reply(header, OptionReply::ack));
  co_return co_await wire_.encrypt();
}

Task<Result<void>> Negotiation::list(Header header, ConstBytes data) {
  if (!data.empty()) co_return co_await refuse(header, OptionReply::error_invalid, "LIST takes no data");
  MessageWriter out;
  for (const Export& exported : exports_) {
    MessageWriter item;
    item.put_counted(exported.name).put(exported.description);
    put_reply(out, header.option, OptionReply::server, item.bytes());
  }
  put_reply(out, header.option, OptionReply::ack);
  co_return co_await send(out.bytes());
}

Task<Result<Negotiation::Next>> Negotiation::inform(Header header, ConstBytes data) {
  const auto request = decode_info_request(data);
  if (!request) {
    BYRE_CO_CHECK(co_await refuse(header, OptionReply::error_invalid, request.error().message()));
    co_return Next::option;
  }
  const Export* exported = find(request->name);
  if (!exported) {
    BYRE_CO_CHECK(co_await refuse(header, OptionReply::error_unknown, "there is no export of that name"));
    co_return Next::option;
  }
  if (header.is(Option::go) && !policy_.take_place()) {
    BYRE_CO_CHECK(co_await refuse(header, OptionReply::error_policy, "as many clients as may be are connected"));
    co_return Next::option;
  }
  MessageWriter out;
  add_info(out, header, *request, *exported);
  put_reply(out, header.option, OptionReply::ack);
  if (header.is(Option::go)) {
    if (contexts_of_ != exported) agreement_.contexts.clear();
    agreement_.exported = exported;
  }
  BYRE_CO_CHECK(co_await send(out.bytes()));
  co_return header.is(Option::go) ? Next::transmission : Next::option;
}

void Negotiation::add_info(MessageWriter& out, Header header, const InfoRequest& request,
                           const Export& exported) const {
  const auto add = [&](Info kind, auto fill) {
    MessageWriter item;
    item.put16(static_cast<std::uint16_t>(kind));
    fill(item);
    put_reply(out, header.option, OptionReply::info, item.bytes());
  };
  const auto wanted = [&](Info kind) {
    return std::ranges::find(request.wanted, static_cast<std::uint16_t>(kind)) != request.wanted.end();
  };
  add(Info::export_size,
      [&](MessageWriter& item) { item.put64(exported.part.size()).put16(flags_of(exported, agreement_.style)); });
  if (wanted(Info::name)) add(Info::name, [&](MessageWriter& item) { item.put(exported.name); });
  if (wanted(Info::description) && !exported.description.empty()) {
    add(Info::description, [&](MessageWriter& item) { item.put(exported.description); });
  }
  // Sent unasked, too: a client that does not know the limits may break them.
  const std::uint64_t cluster_bytes = exported.part.disk->cluster_size_bytes();
  add(Info::block_size, [&](MessageWriter& item) {
    item.put32(1).put32(static_cast<std::uint32_t>(std::clamp<std::uint64_t>(cluster_bytes, 4096, 64 << 10)));
    item.put32(options_.limits.request_bytes);
  });
}

Task<Result<void>> Negotiation::contexts(Header header, ConstBytes data) {
  const bool sets = header.is(Option::set_meta_context);
  if (agreement_.style == Style::simple) {
    co_return co_await refuse(header, OptionReply::error_invalid,
                              "contexts need structured replies or extended headers");
  }
  const auto request = decode_context_request(data);
  if (!request) co_return co_await refuse(header, OptionReply::error_invalid, request.error().message());
  const Export* exported = find(request->name);
  if (sets) {
    agreement_.contexts.clear();
    contexts_of_ = exported;
  }
  if (!exported) co_return co_await refuse(header, OptionReply::error_unknown, "there is no export of that name");
  MessageWriter out;
  for (const Context context : all_contexts) {
    const std::string_view name = context_name(context);
    const bool chosen = std::ranges::any_of(
        request->queries, [&](const auto& query) { return sets ? query == name : selects(query, name); });
    if (!chosen && (sets || !request->queries.empty())) continue;
    if (sets) agreement_.contexts.push_back(context);
    MessageWriter item;
    item.put32(sets ? static_cast<std::uint32_t>(context) : 0).put(name);
    put_reply(out, header.option, OptionReply::meta_context, item.bytes());
  }
  put_reply(out, header.option, OptionReply::ack);
  co_return co_await send(out.bytes());
}

Task<Result<void>> Negotiation::choose_style(Header header, ConstBytes data, Style style) {
  if (!data.empty()) co_return co_await refuse(header, OptionReply::error_invalid, "this option takes no data");
  if (style == Style::structured && agreement_.style == Style::extended) {
    co_return co_await refuse(header, OptionReply::error_extended_headers_required,
                              "extended headers were agreed on already");
  }
  agreement_.style = style;
  co_return co_await reply(header, OptionReply::ack);
}

const Export* Negotiation::find(std::string_view name) const {
  const auto found = std::ranges::find(exports_, name, &Export::name);
  return found == exports_.end() ? nullptr : &*found;
}

Task<Result<void>> Negotiation::reply(Header header, OptionReply type, ConstBytes data) {
  MessageWriter out;
  put_reply(out, header.option, type, data);
  co_return co_await send(out.bytes());
}

Task<Result<void>> Negotiation::refuse(Header header, OptionReply type, std::string_view message) {
  co_return co_await reply(header, type, std::as_bytes(std::span(message)));
}

Task<Result<void>> Negotiation::send(ConstBytes bytes) {
  const std::span<const ConstBytes> parts(&bytes, 1);
  co_return co_await wire_.stream().send(parts);
}

}  // namespace byre::nbd
