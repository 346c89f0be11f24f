// One coroutine receives, one sends, and each request is one in between: it ends by putting its reply into the outbox.
// The receiver waits while too much is under way, so that a client which does not take its replies is not read from.
// Data of a read goes out in one piece: looking for holes would cost each request what block status does once.

#include "nbd/transmission.h"

#include <algorithm>

#include "base/text.h"
#include "nbd/block_status.h"

namespace byre::nbd {
namespace {

// A hint: no more is read ahead for one request.
constexpr std::uint64_t most_prefetched_bytes = 64 << 20;
constexpr std::uint64_t prefetch_step_bytes = 1 << 20;

std::uint16_t allowed_flags(const Request& request, Style style) {
  constexpr std::uint16_t fua = command_flag::fua;
  const auto only_if = [](bool condition, std::uint16_t flag) { return condition ? flag : std::uint16_t{0}; };
  switch (static_cast<Command>(request.command)) {
    case Command::read: return fua | only_if(style != Style::simple, command_flag::do_not_fragment);
    case Command::write: return fua | only_if(style == Style::extended, command_flag::payload);
    case Command::write_zeroes: return fua | command_flag::no_hole | command_flag::fast_zero;
    case Command::block_status: return fua | command_flag::one_extent;
    default: return fua;
  }
}

bool changes(const Request& request) {
  return request.is(Command::write) || request.is(Command::write_zeroes) || request.is(Command::trim);
}

}  // namespace

Transmission::Transmission(Agreement agreement, const ServerOptions& options, const bool& stopping, Wire& wire,
                           BufferShelf& shelf)
    : agreement_(std::move(agreement)),
      part_(agreement_.exported->part),
      disk_(*part_.disk),
      options_(options),
      stopping_(stopping),
      wire_(wire),
      in_flight_(options.limits.in_flight_requests, options.limits.in_flight_bytes),
      shelf_(shelf),
      outbox_(wire.stream(), in_flight_, shelf) {}

Task<Result<void>> Transmission::run() {
  TaskGroup sending;
  sending.start(outbox_.run([this] { wire_.socket().shut_down(); }));
  TaskGroup serving;
  const Result<void> received = co_await receive_requests(serving);
  [[maybe_unused]] const Result<void> served = co_await serving.join();  // each has answered for itself
  outbox_.finish();
  const Result<void> sent = co_await sending.join();
  co_return sent ? received : sent;
}

Task<Result<void>> Transmission::receive_requests(TaskGroup& serving) {
  for (;;) {
    BYRE_CO_TRY(const ConstBytes header, co_await wire_.inbox().take(request_header_bytes(agreement_.style)));
    if (header.empty() || stopping_) co_return Result<void>{};
    BYRE_CO_TRY(const Request request, decode_request(agreement_.style, header));
    if (request.is(Command::disconnect)) co_return Result<void>{};
    if (request.has_payload && request.length_bytes > options_.limits.request_bytes) {
      co_return fail(ErrorCode::refused, "a request brings {} bytes; {} are allowed", request.length_bytes,
                     options_.limits.request_bytes);
    }
    co_await in_flight_.admit(held_bytes(request));
    Buffer data;
    const Result<void> received = co_await receive_payload(request, data);
    if (!received) {
      in_flight_.release(held_bytes(request));
      co_return received;
    }
    Task<Result<void>> task = serve(request, std::move(data));
    serving.start(std::move(task));
  }
}

// Where the command takes none, it is still there to be taken off the wire.
Task<Result<void>> Transmission::receive_payload(const Request& request, Buffer& data) {
  if (!request.has_payload) co_return Result<void>{};
  if (!request.is(Command::write)) co_return co_await wire_.inbox().skip(request.length_bytes);
  data = shelf_.take(request.length_bytes);
  co_return co_await wire_.inbox().fill(data.bytes());
}

std::uint64_t Transmission::held_bytes(const Request& request) const {
  const bool holds = request.is(Command::write) || request.is(Command::read);
  return holds ? std::min<std::uint64_t>(request.length_bytes, options_.limits.request_bytes) : 0;
}

Task<Result<void>> Transmission::serve(Request request, Buffer data) {
  Checked done = check(request);
  if (done) done = co_await perform(request, data);
  if (!done) {
    const Refusal& refusal = done.error();
    outbox_.push(error_reply(agreement_.style, request, refusal.error, refusal.message), held_bytes(request));
  } else if (request.is(Command::read) && request.length_bytes > 0) {
    outbox_.push(ReplyHeader::data(agreement_.style, request), std::move(data), held_bytes(request));
    co_return Result<void>{};
  } else if (!request.is(Command::block_status)) {
    outbox_.push(ReplyHeader::done(agreement_.style, request), {}, held_bytes(request));
  }
  shelf_.give_back(std::move(data));
  co_return Result<void>{};
}

Transmission::Checked Transmission::check(const Request& request) const {
  const auto refuse = [](Errno error, std::string message) {
    return std::unexpected(Refusal{error, std::move(message)});
  };
  if (request.command > static_cast<std::uint16_t>(Command::block_status) || request.is(Command::disconnect)) {
    return refuse(Errno::einval, fmt::format("unknown command {}", request.command));
  }
  if (const Checked flags = check_flags(request); !flags) return flags;
  if (changes(request) && !part_.writable()) return refuse(Errno::eperm, "the export is read-only");
  if (request.is(Command::flush)) return {};
  const std::uint64_t size = part_.size();
  if (request.offset_bytes > size || request.length_bytes > size - request.offset_bytes) {
    const bool grows = request.is(Command::write) || request.is(Command::write_zeroes);
    return refuse(grows ? Errno::enospc : Errno::einval,
                  fmt::format("{} bytes at {} lie outside of the export, which has {} bytes", request.length_bytes,
                              request.offset_bytes, size));
  }
  if (request.is(Command::read) && request.length_bytes > options_.limits.request_bytes) {
    return refuse(Errno::eoverflow, fmt::format("a read of {} bytes; {} are allowed", request.length_bytes,
                                                options_.limits.request_bytes));
  }
  if (request.is(Command::block_status) && agreement_.contexts.empty()) {
    return refuse(Errno::einval, "no metadata context was chosen");
  }
  return {};
}

Transmission::Checked Transmission::check_flags(const Request& request) const {
  const unsigned unknown = request.flags & ~unsigned{allowed_flags(request, agreement_.style)};
  const bool lacks_payload = request.is(Command::write) && !request.has_payload;
  if (unknown == 0 && !lacks_payload) return {};
  return std::unexpected(Refusal{
      Errno::einval, lacks_payload ? std::string("a write without data")
                                   : fmt::format("command {} cannot have the flags {:#x}", request.command, unknown)});
}

Task<Transmission::Checked> Transmission::perform(const Request& request, Buffer& data) {
  const std::uint64_t offset_bytes = part_.offset_bytes + request.offset_bytes;
  if (request.is(Command::flush)) co_return translate(co_await disk_.flush());
  if (request.length_bytes == 0 && !request.is(Command::block_status)) co_return Checked{};
  switch (static_cast<Command>(request.command)) {
    case Command::read: {
      data = shelf_.take(request.length_bytes);
      co_return translate(co_await disk_.read(offset_bytes, data.bytes()));
    }
    case Command::cache: co_return translate(co_await prefetch(request));
    case Command::block_status: co_return co_await send_status(request);
    default: co_return co_await change(request, data);
  }
}

Task<Transmission::Checked> Transmission::change(const Request& request, const Buffer& data) {
  const std::uint64_t offset_bytes = part_.offset_bytes + request.offset_bytes;
  Checked done;
  if (request.is(Command::write)) {
    done = translate(co_await disk_.write(offset_bytes, data.bytes()));
  } else if (request.is(Command::trim)) {
    done = translate(co_await disk_.discard(offset_bytes, request.length_bytes));
  } else {
    done = co_await write_zeroes(request);
  }
  if (done && request.has(command_flag::fua)) done = translate(co_await disk_.flush());
  co_return done;
}

// Whole clusters are cheaper than data; what lies in one, or in a raw disk that may have to write it, is perhaps not.
Task<Transmission::Checked> Transmission::write_zeroes(const Request& request) {
  const std::uint64_t cluster_bytes = disk_.cluster_size_bytes();
  if (request.has(command_flag::fast_zero) && (cluster_bytes == 0 || request.length_bytes < cluster_bytes)) {
    co_return std::unexpected(Refusal{Errno::enotsup, "no faster than writing them"});
  }
  const ZeroMode mode = request.has(command_flag::no_hole) ? ZeroMode::keep : ZeroMode::unmap;
  co_return translate(
      co_await disk_.write_zeroes(part_.offset_bytes + request.offset_bytes, request.length_bytes, mode));
}

Task<Result<void>> Transmission::prefetch(const Request& request) {
  std::uint64_t at = part_.offset_bytes + request.offset_bytes;
  const std::uint64_t end = at + std::min(request.length_bytes, most_prefetched_bytes);
  Buffer buffer(std::min(end - at, prefetch_step_bytes));
  while (at < end) {
    const Bytes step = buffer.bytes().first(std::min<std::uint64_t>(end - at, buffer.size()));
    BYRE_CO_CHECK(co_await disk_.read(at, step));
    at += step.size();
  }
  co_return Result<void>{};
}

Task<Transmission::Checked> Transmission::send_status(const Request& request) {
  if (request.length_bytes == 0) {
    co_return std::unexpected(Refusal{Errno::einval, "the status of no bytes was asked for"});
  }
  auto found = co_await find_extents(part_, agreement_.contexts, request.offset_bytes, request.length_bytes,
                                     request.has(command_flag::one_extent));
  if (!found) co_return translate(std::unexpected(std::move(found).error()));
  for (std::size_t i = 0; i < found->size(); ++i) {
    const bool last = i + 1 == found->size();
    const auto context = static_cast<std::uint32_t>(agreement_.contexts[i]);
    outbox_.push(status_reply(agreement_.style, request, context, (*found)[i], last),
                 last ? std::optional(held_bytes(request)) : std::nullopt);
  }
  co_return Checked{};
}

// A client may be anybody: it is told the kind of the error, the log is told where it happened.
Transmission::Checked Transmission::translate(Result<void> outcome) const {
  if (outcome) return {};
  const Error& error = outcome.error();
  if (options_.log) options_.log(LogLevel::warning, error.message());
  switch (error.code()) {
    case ErrorCode::no_space: return std::unexpected(Refusal{Errno::enospc, "no space left"});
    case ErrorCode::invalid_argument: return std::unexpected(Refusal{Errno::einval, "not possible for this disk"});
    case ErrorCode::unsupported: return std::unexpected(Refusal{Errno::enotsup, "not supported for this disk"});
    case ErrorCode::refused: return std::unexpected(Refusal{Errno::eperm, "not permitted"});
    default: return std::unexpected(Refusal{Errno::eio, "the disk could not be read or written"});
  }
}

}  // namespace byre::nbd
