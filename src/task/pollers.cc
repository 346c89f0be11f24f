// Chooses between io_uring and threads.

#include "byre/task/pollers.h"

#include <cstdlib>

#include "base/text.h"
#include "task/thread_poller.h"
#include "task/uring_poller.h"

namespace byre {
namespace {

Result<IoMode> mode_from_environment() {
  const char* text = std::getenv("BYRE_IO");
  const std::string_view wanted = text ? text : "";
  if (wanted.empty() || wanted == "auto") return IoMode::automatic;
  if (wanted == "uring") return IoMode::uring;
  if (wanted == "threads") return IoMode::threads;
  return fail(ErrorCode::invalid_argument, "BYRE_IO is '{}'; it may be uring, threads or auto",
              escape_untrusted(wanted));
}

}  // namespace

Result<std::unique_ptr<Poller>> make_poller(IoMode mode) {
  if (mode == IoMode::automatic) {
    BYRE_TRY(mode, mode_from_environment());
  }
  if (mode != IoMode::threads) {
    BYRE_TRY(auto completions, PoolCompletions::make());
    auto poller = UringPoller::make(std::move(completions));
    if (poller) return *std::move(poller);
    if (mode == IoMode::uring) return std::unexpected(std::move(poller).error());
  }
  BYRE_TRY(auto completions, PoolCompletions::make());
  BYRE_TRY(auto poller, ThreadPoller::make(std::move(completions)));
  return poller;
}

Result<std::unique_ptr<EventLoop>> make_event_loop(IoMode mode) {
  BYRE_TRY(auto poller, make_poller(mode));
  return std::make_unique<EventLoop>(std::move(poller));
}

std::string_view io_mode_name(EventLoop& loop) {
  if (dynamic_cast<UringPoller*>(&loop.poller())) return "uring";
  if (dynamic_cast<ThreadPoller*>(&loop.poller())) return "threads";
  return "other";
}

}  // namespace byre
