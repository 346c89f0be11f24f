// There is one stream, as there is one standard output: the frame begins and ends it, and whatever shows progress
// (progress.h) adds to it.
#include "cli/events.h"

#include <charconv>
#include <chrono>
#include <climits>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/event_stream.h"
#include "cli/output.h"

namespace byre::cli {

namespace {

constexpr std::chrono::milliseconds event_interval{100};
constexpr std::string_view events_prefix = "json:";
constexpr std::size_t longest_kept_message_bytes = 512;  // at six bytes a character still well below PIPE_BUF

struct Events {
  using Clock = std::chrono::steady_clock;

  EventStream stream;
  std::string operation;
  Clock::time_point began;
  Clock::time_point told;  // progress, the last time
};
std::optional<Events> events;

double rounded(double value, double steps) { return std::round(value * steps) / steps; }

Json event_named(const char* name) { return {{"event", name}, {"operation", events->operation}}; }

void send_event(Json event) {
  event["elapsed"] = rounded(std::chrono::duration<double>(Events::Clock::now() - events->began).count(), 1000);
  events->stream.send(json_line(event));
}

// Within the length of a line: names and messages may be as long as a path.
Json short_error(const Error& error) {
  const auto shorten = [](const std::string& text) { return text.substr(0, longest_kept_message_bytes) + "..."; };
  Json members = error_to_json(error);
  if (json_line(members).size() < PIPE_BUF / 2) return members;
  members.erase("file");
  if (json_line(members).size() >= PIPE_BUF / 2) members["message"] = shorten(error.message());
  return members;
}

std::optional<int> descriptor_in(std::string_view word) {
  if (!word.starts_with(events_prefix)) return std::nullopt;
  word.remove_prefix(events_prefix.size());
  int descriptor = -1;
  const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), descriptor);
  const bool whole = problem == std::errc() && end == word.data() + word.size();
  return whole && descriptor > 0 ? std::optional(descriptor) : std::nullopt;
}

}  // namespace

Result<> open_events(const std::string& word) {
  const auto descriptor = descriptor_in(word);
  if (!descriptor) {
    return fail(ErrorCode::invalid_argument,
                "--progress {}: json:FD is expected, where FD is the number of a descriptor that is open for writing",
                escape_untrusted(word));
  }
  Result<EventStream> opened = EventStream::on(*descriptor);
  if (!opened) return std::unexpected(std::move(opened).error().with_context("--progress " + word));
  events.emplace(Events{*std::move(opened), "", {}, {}});
  return {};
}

void begin_events(const std::string& operation) {
  if (!events) return;
  events->operation = operation;
  events->began = Events::Clock::now();
  send_event(event_named("started"));
}

void report_progress_event(std::uint64_t done, std::uint64_t total) {
  if (!events || Events::Clock::now() - events->told < event_interval) return;
  events->told = Events::Clock::now();
  done = std::min(done, total);
  Json event = event_named("progress");
  event["done"] = done;
  event["total"] = total;
  event["percent"] = total == 0 ? 100 : rounded(100 * static_cast<double>(done) / static_cast<double>(total), 100);
  send_event(std::move(event));
}

void end_events(int exit_code, const std::optional<Error>& error) {
  if (!events) return;
  const bool failed = exit_code != 0 && error;
  const bool cancelled = failed && error->code() == ErrorCode::cancelled;
  Json event = event_named(cancelled ? "cancelled" : failed ? "failed" : "finished");
  event["exit"] = exit_code;
  if (failed) event["error"] = short_error(*error);
  send_event(std::move(event));
}

}  // namespace byre::cli
