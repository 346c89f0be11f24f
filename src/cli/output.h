// What the tool prints: results on standard output, diagnostics on standard error (docs/format.md C-1, C-2).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/text.h"
#include "byre/base/log.h"
#include "byre/base/result.h"

namespace byre::cli {

// Keeps members in the order they were added, which reads better; nobody may rely on it.
using Json = nlohmann::ordered_json;

// Opens /dev/null where the caller closed a standard stream. Else an image that is opened later would get the number of
// standard error, and a diagnostic would be written into it.
void occupy_standard_streams();

// Writes to standard output as is; what fails comes out in finish_output().
void print(std::string_view text);
void flush_output();
// Writes one JSON value, indented by 4 spaces, and a newline. Strings that are not UTF-8 get replacement characters.
void print_json(const Json& value);
// The same on one line, without spaces, with its newline.
std::string json_line(const Json& value);

// How what goes to standard error is written: as lines for people, "byre: ..." most of them (personality.h), or as one
// JSON object a line (docs/errors.md). Text, unless it is set.
enum class DiagnosticStyle { text, json };
void set_diagnostic_style(DiagnosticStyle style);
DiagnosticStyle diagnostic_style();
// --errors, or else the environment (BYRE_ERRORS), says how. Errors: it says something else.
Result<> choose_diagnostic_style(const std::optional<std::string>& option);

// Everything on standard error goes through this but the moving line of progress. Standard output is flushed first, so
// that the order shows. The object is {"level": ...} with `members`, which have a "message" and, for errors, a "code".
enum class DiagnosticLevel { error, warning, note };
void print_diagnostic(DiagnosticLevel level, std::string_view text, const Json& members);
// "code", "message", and "file" and "errno" where there are any.
Json error_to_json(const Error& error);

void print_error(const Error& error);
// A mistake in the command line, or in what it was given to do.
void print_error(std::string_view message);
void print_warning(std::string_view message);
// Without the program's name in front: texts that scripts know so.
void print_bare_error(const Error& error);
// Advice behind an error.
void print_hint(std::string_view line);
// What print_error() got first, if it was called.
const std::optional<Error>& first_error();

// Writes to standard error as is.
void print_terminal_line(std::string_view text);

// Whether the data of an image may go there. Errors: it is a terminal, or `progress` (-p) goes there.
Result<> check_standard_output_takes_data(bool progress);

// Flushes standard output. Returns `exit_code`, or exit_failure with a diagnostic if something could not be written.
int finish_output(int exit_code);

// 0 for success; else prints the error and returns `failure_code`.
int report(const Result<>& result, int failure_code = 1);

// Prints the library's remarks as warnings and notes on standard error. Quiet keeps warnings.
LogSink stderr_log(bool quiet = false);

}  // namespace byre::cli
