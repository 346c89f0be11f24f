// What a run reports to a program that watches it: --progress json:FD, one JSON object a line (docs/errors.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "byre/base/result.h"

namespace byre::cli {

// From the command line: "json:FD", a descriptor that is open for writing. Until it is called the others do nothing.
Result<> open_events(const std::string& word);

// The first line. `operation` is the name of the command.
void begin_events(const std::string& operation);
// At most ten lines a second; cheap otherwise.
void report_progress_event(std::uint64_t done, std::uint64_t total);
// The last line: "cancelled" or "failed" if there is an error and the exit code says so, else "finished".
void end_events(int exit_code, const std::optional<Error>& error);

}  // namespace byre::cli
