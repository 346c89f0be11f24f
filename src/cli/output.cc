// Output through stdio: buffered; the first failure of standard output is kept and told once at the end. Nobody can be
// told of a failure of standard error. fmt::print() is not used: it throws when a write fails.
#include "cli/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cli/personality.h"

namespace byre::cli {

namespace {

int output_errno = 0;  // of the first write that failed
DiagnosticStyle chosen_style = DiagnosticStyle::text;
std::optional<Error> first_printed;

void note_output_failure(bool failed) {
  if (failed && output_errno == 0) output_errno = errno ? errno : EIO;
}

}  // namespace

void occupy_standard_streams() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) >= 0) continue;
    // The lowest free number is this one. What is read is at its end, what is written fails.
    if (::open("/dev/null", O_RDONLY | O_CLOEXEC) < 0) return;
  }
}

void print(std::string_view text) {
  note_output_failure(std::fwrite(text.data(), 1, text.size(), stdout) < text.size());
}

void flush_output() { note_output_failure(std::fflush(stdout) != 0); }

// All but ASCII is written as \uNNNN: texts come from images, and a terminal may obey C1 and DEL (H-6).
void print_json(const Json& value) {
  print(value.dump(4, ' ', true, Json::error_handler_t::replace));
  print("\n");
}

std::string json_line(const Json& value) { return value.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n"; }

void set_diagnostic_style(DiagnosticStyle wanted) { chosen_style = wanted; }

DiagnosticStyle diagnostic_style() { return chosen_style; }

Result<> choose_diagnostic_style(const std::optional<std::string>& option) {
  const char* const variable = std::getenv("BYRE_ERRORS");
  const std::string word = option ? *option : variable ? variable : "";
  if (word == "json") set_diagnostic_style(DiagnosticStyle::json);
  if (word == "json" || word == "text" || (word.empty() && !option)) return {};
  return fail(ErrorCode::invalid_argument, "{} must be text or json, not '{}'", option ? "--errors" : "BYRE_ERRORS",
              escape_untrusted(word));
}

void print_terminal_line(std::string_view text) {
  flush_output();
  (void)std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

void print_diagnostic(DiagnosticLevel level, std::string_view text, const Json& members) {
  if (chosen_style == DiagnosticStyle::text) return print_terminal_line(text);
  Json object;
  object["level"] = level == DiagnosticLevel::error ? "error" : level == DiagnosticLevel::warning ? "warning" : "note";
  object.update(members);
  print_terminal_line(json_line(object));
}

Json error_to_json(const Error& error) {
  Json members = {{"code", error_code_name(error.code())}, {"message", error.message()}};
  if (!error.file().empty()) members["file"] = error.file();
  if (error.errno_value() != 0) members["errno"] = error.errno_value();
  return members;
}

void print_error(const Error& error) {
  if (!first_printed) first_printed = error;
  print_diagnostic(DiagnosticLevel::error, fmt::format("{}: {}\n", personality().program, error.message()),
                   error_to_json(error));
}

void print_error(std::string_view message) { print_error(Error(ErrorCode::invalid_argument, std::string(message))); }

void print_bare_error(const Error& error) {
  if (!first_printed) first_printed = error;
  print_diagnostic(DiagnosticLevel::error, error.message() + "\n", error_to_json(error));
}

void print_warning(std::string_view message) {
  print_diagnostic(DiagnosticLevel::warning, fmt::format("{}: {}\n", personality().program, message),
                   {{"message", message}});
}

void print_hint(std::string_view line) {
  print_diagnostic(DiagnosticLevel::note, fmt::format("{}\n", line), {{"message", line}});
}

const std::optional<Error>& first_error() { return first_printed; }

Result<> check_standard_output_takes_data(bool progress) {
  if (progress) {
    return fail(ErrorCode::invalid_argument, "-p goes to standard output, where the data goes: use --progress json:FD");
  }
  if (!::isatty(STDOUT_FILENO)) return {};
  return fail(ErrorCode::invalid_argument,
              "standard output is a terminal, which is not for the data of an image: it goes to a pipe or a file");
}

int finish_output(int exit_code) {
  flush_output();
  if (output_errno == 0) return exit_code;
  print_error(Error::from_errno(output_errno, "standard output"));
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
    const bool warns = level == LogLevel::warning;
    print_diagnostic(warns ? DiagnosticLevel::warning : DiagnosticLevel::note,
                     fmt::format("{}: {}: {}\n", personality().program, warns ? "warning" : "note", message),
                     {{"message", message}});
  };
}

}  // namespace byre::cli
