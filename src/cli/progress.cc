// Two styles of progress: the one that scripts of qemu-img parse, and one for people, with rate and remaining time.
// Programs get events (events.h), whatever the style.
#include "cli/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>

#include "base/text.h"
#include "cli/events.h"
#include "cli/output.h"

namespace byre::cli {

namespace {

constexpr std::chrono::milliseconds interval{100};
constexpr double patience_seconds = 1;  // shorter work needs no line

Progress::Style choose_style(bool forced, bool quiet) {
  if (quiet) return Progress::Style::silent;
  if (forced) return Progress::Style::percent;
  if (diagnostic_style() == DiagnosticStyle::json) return Progress::Style::silent;
  return isatty(STDERR_FILENO) ? Progress::Style::terminal : Progress::Style::silent;
}

}  // namespace

Progress::Progress(bool forced, bool quiet, std::string what)
    : style_(choose_style(forced, quiet)), what_(std::move(what)) {
  if (style_ == Style::percent) show_percent(0);
}

Progress::~Progress() { end_line(); }

void Progress::update(std::uint64_t done_bytes, std::uint64_t total_bytes) {
  report_progress_event(done_bytes, total_bytes);
  if (style_ == Style::silent) return;
  const auto now = Clock::now();
  if (now - shown_ < interval) return;
  shown_ = now;
  done_bytes = std::min(done_bytes, total_bytes);
  const double share = total_bytes ? static_cast<double>(done_bytes) / static_cast<double>(total_bytes) : 1;
  const double seconds = std::chrono::duration<double>(now - started_).count();
  if (style_ == Style::percent) return show_percent(share * 100);
  if (seconds >= patience_seconds) show_line(done_bytes, total_bytes, seconds);
}

void Progress::show_complete() {
  if (style_ == Style::percent) show_percent(100);
}

void Progress::finish() {
  show_complete();
  end_line();
}

void Progress::show_percent(double percent) {
  print(fmt::format("    ({:.2f}/100%)\r", percent));
  flush_output();
  line_open_ = true;
}

void Progress::show_line(std::uint64_t done_bytes, std::uint64_t total_bytes, double seconds) {
  const double rate = static_cast<double>(done_bytes) / seconds;
  const double percent = total_bytes ? 100.0 * static_cast<double>(done_bytes) / static_cast<double>(total_bytes) : 100;
  const double left = rate > 0 ? static_cast<double>(total_bytes - done_bytes) / rate : 0;
  print_terminal_line(fmt::format("\r\033[K{} {:5.1f} %  {} of {}  {}/s  {:.0f} s left", what_, percent,
                                  human_size(done_bytes), human_size(total_bytes),
                                  human_size(static_cast<std::uint64_t>(rate)), left));
  line_open_ = true;
}

void Progress::end_line() {
  if (!line_open_) return;
  if (style_ == Style::percent) {
    print("\n");
    flush_output();
  } else {
    print_terminal_line("\r\033[K");
  }
  line_open_ = false;
}

}  // namespace byre::cli
