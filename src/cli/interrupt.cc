#include "cli/interrupt.h"

#include <csignal>

namespace byre::cli {

namespace {

std::atomic<bool> noted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");

extern "C" void note_signal(int) { noted.store(true); }

}  // namespace

const std::atomic<bool>& interrupted() { return noted; }

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = note_signal;
  // The default action comes back with the first signal. Calls under way are continued, not broken off.
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction former = {};
    sigaction(signal, nullptr, &former);
    const bool nohup = signal == SIGHUP && former.sa_handler == SIG_IGN;
    if (!nohup) sigaction(signal, &action, nullptr);
  }
}

void ignore_write_signals() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace byre::cli
