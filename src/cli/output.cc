// Output through stdio: buffered, checked once at the end.
#include "cli/output.h"

#include <cerrno>
#include <cstdio>

namespace byre::cli {

void print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

// All but ASCII is written as \uNNNN: texts come from images, and a terminal may obey C1 and DEL (H-6).
void print_json(const Json& value) {
  print(value.dump(4, ' ', true, Json::error_handler_t::replace));
  print("\n");
}

void print_error(std::string_view message) {
  std::fflush(stdout);
  fmt::print(stderr, "byre: {}\n", message);
}

void print_error(const Error& error) { print_error(error.message()); }

void print_hint(std::string_view line) { fmt::print(stderr, "{}\n", line); }

int finish_output(int exit_code) {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return exit_code;
  print_error(Error::from_errno(errno ? errno : EIO, "standard output"));
  return 1;
}

int report(const Result<>& result, int failure_code) {
  if (result) return 0;
  print_error(result.error());
  return failure_code;
}

LogSink stderr_log(bool quiet) {
  return [quiet](LogLevel level, std::string_view message) {
    if (quiet && level == LogLevel::note) return;
    print_error(fmt::format("{}: {}", level == LogLevel::warning ? "warning" : "note", message));
  };
}

}  // namespace byre::cli
