// Ending long work on SIGINT and SIGTERM in good order: the work looks at a flag between its steps.
#pragma once

#include <atomic>

namespace byre::cli {

// True once a signal has come. A task that sees it ends with ErrorCode::cancelled and cleans up.
const std::atomic<bool>& interrupted();

// From now on the first SIGINT or SIGTERM sets the flag; a second one ends the process as usual.
void catch_interrupts();

}  // namespace byre::cli
