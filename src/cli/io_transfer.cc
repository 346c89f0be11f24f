// Commands that move data: from words to a request. An asynchronous command hands its request to the session's group
// and is done; it succeeds once the request is under way, whatever becomes of it (docs/format.md C-29).
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "cli/io_commands.h"
#include "cli/io_request.h"
#include "cli/output.h"

namespace byre::cli {

namespace {

bool complain(std::string_view text) {
  print(fmt::format("{}\n", text));
  return false;
}

IoReportStyle style_of(const IoWords& words) {
  if (words.has('q')) return IoReportStyle::none;
  return words.has('C') ? IoReportStyle::csv : IoReportStyle::human;
}

// The sum of the lengths of a vectored request.
std::optional<std::uint64_t> total_length(const IoWords& words) {
  std::uint64_t total = 0;
  for (std::size_t i = 1; i < words.rest().size(); ++i) {
    const auto length = read_number(words.rest()[i]);
    if (!length) return std::nullopt;
    if (*length > largest_request_bytes) {
      print(fmt::format("Argument '{}' exceeds maximum size {}\n", words.rest()[i], largest_request_bytes));
      return std::nullopt;
    }
    total += *length;
    if (total > largest_request_bytes) {
      print(fmt::format("The total number of bytes exceed the maximum size {}\n", largest_request_bytes));
      return std::nullopt;
    }
  }
  return total;
}

// Offset and length of a command that takes exactly these two.
template <class Request>
bool parse_range(const IoWords& words, Request& request) {
  const auto offset = read_number(words.rest()[0]);
  if (!offset) return false;
  const auto length = read_request_length(words.rest()[1]);
  if (!length) return false;
  request.offset_bytes = *offset;
  request.length_bytes = *length;
  return true;
}

template <class Request>
bool check_sectors(const Request& request) {
  for (const auto& [value, name] : {std::pair(request.offset_bytes, "offset"), {request.length_bytes, "count"}}) {
    if (value % 512 != 0) return complain(fmt::format("{} is not a sector-aligned value for '{}'", value, name));
  }
  return true;
}

template <class Request>
bool parse_vector(const IoWords& words, Request& request) {
  const auto offset = read_number(words.rest()[0]);
  if (!offset) return false;
  const auto length = total_length(words);
  if (!length) return false;
  request.offset_bytes = *offset;
  request.length_bytes = *length;
  return true;
}

bool parse_expectation(const IoWords& words, IoRead& request) {
  if (!words.has('P')) return true;
  const auto pattern = read_pattern(*words.value('P'));
  if (!pattern) return false;
  request.pattern = pattern;
  return true;
}

bool parse_verified_part(const IoWords& words, IoRead& request) {
  if (words.has('s')) {
    const auto from = read_number(*words.value('s'));
    if (!from) return false;
    request.verify_from = *from;
  }
  const std::uint64_t most = request.length_bytes - std::min(request.verify_from, request.length_bytes);
  request.verify_bytes = most;
  if (words.has('l')) {
    const auto length = read_number(*words.value('l'));
    if (!length) return false;
    request.verify_bytes = *length;
  }
  if (request.verify_from <= request.length_bytes && request.verify_bytes <= most) return true;
  return complain("pattern verification range exceeds end of read data");
}

Task<bool> run_read(IoSession& session, const IoWords& words) {
  IoRead request;
  request.name = "read";
  request.dump = words.has('v');
  request.style = style_of(words);
  request.vm_state = words.has('b');
  if (!parse_expectation(words, request)) co_return false;
  const bool part_without_pattern = !words.has('P') && (words.has('s') || words.has('l'));
  if (words.rest().size() != 2 || part_without_pattern) co_return fail_with_usage("read");
  if (!parse_range(words, request) || (request.vm_state && !check_sectors(request))) co_return false;
  if (!parse_verified_part(words, request)) co_return false;
  co_return co_await do_read(*session.disk(), request);
}

// What readv and aio_read have in common.
bool parse_vectored_read(const IoWords& words, std::string_view command, IoRead& request) {
  request.name = "readv";
  request.dump = words.has('v');
  request.style = style_of(words);
  if (!parse_expectation(words, request)) return false;
  if (words.rest().size() < 2) return fail_with_usage(command);
  if (!parse_vector(words, request)) return false;
  request.verify_bytes = request.length_bytes;
  return true;
}

Task<bool> run_readv(IoSession& session, const IoWords& words) {
  IoRead request;
  if (!parse_vectored_read(words, "readv", request)) co_return false;
  co_return co_await do_read(*session.disk(), request);
}

Task<Result<void>> read_beside(Disk& disk, IoRead request) {
  (void)co_await do_read(disk, request);
  co_return Result<void>();
}

Task<bool> run_aio_read(IoSession& session, const IoWords& words) {
  IoRead request;
  if (words.has('i')) co_return complain("injecting invalid read request");
  if (!parse_vectored_read(words, "aio_read", request)) co_return false;
  session.in_flight().start(read_beside(*session.disk(), request));
  co_return true;
}

bool read_content_file(const std::string& name, std::vector<std::byte>& content) {
  constexpr std::size_t piece_bytes = 65536;
  content.clear();
  errno = 0;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(name.c_str(), "rbe"), std::fclose);
  std::size_t got = piece_bytes;
  while (file && got == piece_bytes && content.size() < largest_request_bytes) {
    content.resize(content.size() + piece_bytes);
    got = std::fread(content.data() + content.size() - piece_bytes, 1, piece_bytes, file.get());
    content.resize(content.size() - piece_bytes + got);
  }
  const bool failed = !file || std::ferror(file.get()) != 0;
  const int reason = errno;
  if (!failed && !content.empty()) return true;
  const Error error =
      failed ? Error::from_errno(reason, escape_untrusted(name)) : Error(ErrorCode::invalid_argument, "file is empty");
  print_bare_error(Error(error).in_file(name));
  return false;
}

bool parse_content(const IoWords& words, IoWrite& request) {
  if (words.has('P')) {
    const auto pattern = read_pattern(*words.value('P'));
    if (!pattern) return false;
    request.content = {std::byte{*pattern}};
  }
  return !words.has('s') || read_content_file(*words.value('s'), request.content);
}

// The rules of which options go together.
bool check_write_options(const IoWords& words) {
  if (words.has('b') && words.has('z')) return complain("-b and -z cannot be specified at the same time");
  if (words.has('f') && (words.has('b') || words.has('c'))) {
    return complain("-f and -b or -c cannot be specified at the same time");
  }
  if (words.has('n') && !words.has('z')) return complain("-n requires -z to be specified");
  if (words.has('u') && !words.has('z')) return complain("-u requires -z to be specified");
  if (words.has('z') + words.has('P') + words.has('s') > 1) {
    return complain("Only one of -z, -P, and -s can be specified at the same time");
  }
  return true;
}

void parse_write_flags(const IoWords& words, IoWrite& request) {
  request.style = style_of(words);
  request.vm_state = words.has('b');
  request.unmap = words.has('u');
  request.durable = words.has('f');
  request.whole_clusters_only = words.has('n');
  if (words.has('c')) request.kind = IoWrite::Kind::compressed;
  if (words.has('z')) request.kind = IoWrite::Kind::zeroes;
}

bool parse_write_range(const IoWords& words, IoWrite& request) {
  const auto offset = read_number(words.rest()[0]);
  if (!offset) return false;
  const auto length = read_number(words.rest()[1]);
  if (!length) return false;
  if (*length > largest_request_bytes && !request.whole_clusters_only) {
    return complain(
        fmt::format("length cannot exceed {} without -n, given {}", largest_request_bytes, words.rest()[1]));
  }
  request.offset_bytes = *offset;
  request.length_bytes = *length;
  return true;
}

Task<bool> run_write(IoSession& session, const IoWords& words) {
  IoWrite request;
  request.name = "write";
  if (words.rest().size() != 2) co_return fail_with_usage("write");
  if (!check_write_options(words)) co_return false;
  parse_write_flags(words, request);
  if (!parse_write_range(words, request)) co_return false;
  if ((words.has('b') || words.has('c')) && !check_sectors(request)) co_return false;
  if (!parse_content(words, request)) co_return false;
  if (request.vm_state) (void)co_await session.in_flight().join();
  co_return co_await do_write(*session.disk(), request);
}

Task<bool> run_writev(IoSession& session, const IoWords& words) {
  IoWrite request;
  request.name = "writev";
  parse_write_flags(words, request);
  if (words.rest().size() < 2) co_return fail_with_usage("writev");
  if (!parse_content(words, request) || !parse_vector(words, request)) co_return false;
  co_return co_await do_write(*session.disk(), request);
}

Task<Result<void>> write_beside(Disk& disk, IoWrite request) {
  (void)co_await do_write(disk, request);
  co_return Result<void>();
}

Task<bool> run_aio_write(IoSession& session, const IoWords& words) {
  IoWrite request;
  request.name = "aio_write";
  parse_write_flags(words, request);
  if (words.has('i')) co_return complain("injecting invalid write request");
  if (words.rest().size() < 2) co_return fail_with_usage("aio_write");
  if (words.has('z') && words.rest().size() != 2) co_return complain("-z supports only a single length parameter");
  if (words.has('u') && !words.has('z')) co_return complain("-u requires -z to be specified");
  if (!parse_content(words, request) || !parse_vector(words, request)) co_return false;
  session.in_flight().start(write_beside(*session.disk(), request));
  co_return true;
}

Task<bool> run_aio_flush(IoSession& session, const IoWords&) {
  (void)co_await session.in_flight().join();
  co_return true;
}

Task<bool> run_discard(IoSession& session, const IoWords& words) {
  IoRead range;
  if (words.rest().size() != 2) co_return fail_with_usage("discard");
  if (!parse_range(words, range)) co_return false;
  co_return co_await do_discard(*session.disk(), range.offset_bytes, range.length_bytes, style_of(words));
}

constexpr IoCommand transfer_commands[] = {
    {"aio_flush", "", 0, 0, true, false, "", "", "completes all outstanding aio requests", run_aio_flush},
    {"aio_read", "", 2, -1, true, false, "CiqvP:", "[-Ciqv] [-P pattern] off len [len..]",
     "asynchronously reads a number of bytes", run_aio_read},
    {"aio_write", "", 2, -1, true, true, "CfiquzP:", "[-Cfiquz] [-P pattern] off len [len..]",
     "asynchronously writes a number of bytes", run_aio_write},
    {"discard", "d", 2, -1, true, true, "Cq", "[-Cq] off len", "discards a number of bytes at a specified offset",
     run_discard},
    {"read", "r", 2, -1, true, false, "abCl:pP:qs:v", "[-abCqv] [-P pattern [-s off] [-l len]] off len",
     "reads a number of bytes at a specified offset", run_read},
    {"readv", "", 2, -1, true, false, "CP:qv", "[-Cqv] [-P pattern] off len [len..]",
     "reads a number of bytes at a specified offset", run_readv},
    {"write", "w", 2, -1, true, true, "bcCfnpP:qs:uz", "[-bcCfnquz] [-P pattern | -s source_file] off len",
     "writes a number of bytes at a specified offset", run_write},
    {"writev", "", 2, -1, true, true, "CfqP:", "[-Cfq] [-P pattern] off len [len..]",
     "writes a number of bytes at a specified offset", run_writev},
};

}  // namespace

std::span<const IoCommand> io_transfer_commands() { return transfer_commands; }

}  // namespace byre::cli
