// The answer to "-o help".
#pragma once

#include <string>

namespace byre::cli {

// Prints what the format understands. Returns the exit code.
int print_option_help(const std::string& format);

}  // namespace byre::cli
