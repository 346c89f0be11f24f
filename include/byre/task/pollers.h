// Event loops for real files: io_uring where the system allows it, blocking calls in threads elsewhere.
#pragma once

#include <memory>
#include <string_view>

#include "byre/base/result.h"
#include "byre/task/event_loop.h"

namespace byre {

enum class IoMode {
  automatic,  // the environment variable BYRE_IO (uring, threads) if set; else io_uring if the system allows it
  uring,      // io_uring or an error
  threads,    // blocking calls in worker threads
};

// Makes the poller alone, for programs that build their loop themselves. Fails with unsupported if io_uring was asked
// for and cannot be had, with invalid_argument for an unknown value of BYRE_IO.
Result<std::unique_ptr<Poller>> make_poller(IoMode mode = IoMode::automatic);

// A loop over such a poller. A loop that has I/O under way must stay on its thread.
Result<std::unique_ptr<EventLoop>> make_event_loop(IoMode mode = IoMode::automatic);

// The mode that a loop really uses ("uring", "threads", or "other" for a foreign poller), for messages.
std::string_view io_mode_name(EventLoop& loop);

}  // namespace byre
