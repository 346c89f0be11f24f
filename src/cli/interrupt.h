// Ending long work on SIGINT, SIGTERM and SIGHUP in good order: the work looks at a flag between its steps.
#pragma once

#include <atomic>

namespace byre::cli {

// True once a signal has come. A task that sees it ends with ErrorCode::cancelled and cleans up.
const std::atomic<bool>& interrupted();

// From now on the first SIGINT, SIGTERM or SIGHUP sets the flag; a second one ends the process as usual.
// SIGHUP stays ignored where it was (nohup).
void catch_interrupts();

// A write to a closed pipe, or beyond the limit of file sizes, becomes an error that can be reported and cleaned up.
void ignore_write_signals();

}  // namespace byre::cli
