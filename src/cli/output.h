// What the tool prints: results on standard output, diagnostics on standard error (docs/format.md C-1, C-2).
#pragma once

#include <nlohmann/json_fwd.hpp>
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

// Writes to standard error as is. Standard output is flushed first, so that the order shows.
void print_error_text(std::string_view text);
// Write "byre: <message>" to standard error.
void print_error(std::string_view message);
void print_error(const Error& error);
// Writes a line to standard error without a prefix.
void print_hint(std::string_view line);

// Flushes standard output. Returns `exit_code`, or exit_failure with a diagnostic if something could not be written.
int finish_output(int exit_code);

// 0 for success; else prints the error and returns `failure_code`.
int report(const Result<>& result, int failure_code = 1);

// Prints the library's remarks as "byre: warning: ..." and "byre: note: ..." on standard error. Quiet keeps warnings.
LogSink stderr_log(bool quiet = false);

}  // namespace byre::cli
