// The answer to "-o help".
#pragma once

#include <string>

namespace byre::cli {

// Prints what the format understands. Returns the exit code. `with_file`: the target is named, too; qemu-img lists what
// concerns its file only then.
int print_option_help(const std::string& format, bool with_file);

}  // namespace byre::cli
