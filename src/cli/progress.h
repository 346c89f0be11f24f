// How far a long operation has come.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace byre::cli {

// With -p: "    (12.34/100%)" and a carriage return on standard output (docs/format.md C-26). Without, and if standard
// error is a terminal: a line there, once the work has taken a second. Else silent. Each update is also an event, if
// those are wanted (events.h): -q does not silence them.
class Progress {
 public:
  enum class Style { silent, percent, terminal };

  // `forced` is -p, `quiet` is -q, which wins. `what` is the verb of the terminal's line ("converting").
  Progress(bool forced, bool quiet, std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Cheap: prints at most every tenth of a second, and at the end. `total_bytes` 0 counts as finished.
  void update(std::uint64_t done_bytes, std::uint64_t total_bytes);
  // Prints 100 % (only with -p); what is printed next stands on the same line.
  void show_complete();
  // The same, and ends the line. Without it, the destructor only ends the line.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  void show_percent(double percent);
  void show_line(std::uint64_t done_bytes, std::uint64_t total_bytes, double seconds);
  void end_line();

  Style style_;
  std::string what_;
  Clock::time_point started_ = Clock::now();
  Clock::time_point shown_;
  bool line_open_ = false;
};

}  // namespace byre::cli
