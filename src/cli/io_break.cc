// Commands that stop requests at break points, which a blkdebug node has (byre/storage/break_points.h).
#include <chrono>

#include "byre/storage/break_points.h"
#include "byre/task/pause.h"
#include "cli/io_commands.h"
#include "cli/io_output.h"
#include "cli/output.h"

namespace byre::cli {

namespace {

constexpr std::chrono::milliseconds look_again_after{1};

void tell_break(std::string_view tag, BreakPoints::Change change) {
  const std::string_view what = change == BreakPoints::Change::suspended ? "Suspended" : "Resuming";
  print(fmt::format("blkdebug: {} request '{}'\n", what, escape_untrusted(tag)));
  flush_output();
}

// Null: it says so.
BreakPoints* break_points_of(IoSession& session, std::string_view complaint) {
  BreakPoints* const points = session.disk()->storage().break_points();
  if (!points) print(fmt::format("{}: Operation not supported\n", complaint));
  if (points) points->set_listener(tell_break);
  return points;
}

Task<bool> run_break(IoSession& session, const IoWords& words) {
  BreakPoints* const points = break_points_of(session, "Could not set breakpoint");
  if (!points) co_return false;
  const auto event = access_event_named(words.rest()[0]);
  if (!event) {
    print("Could not set breakpoint: No such file or directory\n");
    print_error(fmt::format("this engine has no event '{}'", escape_untrusted(words.rest()[0])));
    co_return false;
  }
  points->set(*event, words.rest()[1]);
  co_return true;
}

Task<bool> run_resume(IoSession& session, const IoWords& words) {
  BreakPoints* const points = break_points_of(session, "Could not resume request");
  if (!points) co_return false;
  const Result<void> resumed = points->resume(words.rest()[0]);
  if (!resumed) print("Could not resume request: No such file or directory\n");
  co_return resumed.has_value();
}

Task<bool> run_remove_break(IoSession& session, const IoWords& words) {
  const std::string tag = escape_untrusted(words.rest()[0]);
  BreakPoints* const points = break_points_of(session, fmt::format("Could not remove breakpoint {}", tag));
  if (!points) co_return false;
  const Result<void> removed = points->remove(words.rest()[0]);
  if (!removed) print(fmt::format("Could not remove breakpoint {}: No such file or directory\n", tag));
  co_return removed.has_value();
}

// As long as something is under way it may still get there.
Task<bool> run_wait_break(IoSession& session, const IoWords& words) {
  BreakPoints* const points = break_points_of(session, "Could not wait for a breakpoint");
  if (!points) co_return false;
  while (!points->is_suspended(words.rest()[0])) {
    if (session.in_flight().running() == 0) {
      print(
          fmt::format("No request is under way that could be suspended as '{}'\n", escape_untrusted(words.rest()[0])));
      co_return false;
    }
    co_await pause_for(look_again_after);
  }
  co_return true;
}

constexpr IoCommand break_commands[] = {
    {"break", "", 2, 2, true, false, "", "event tag", "sets a breakpoint on event and tags the stopped request as tag",
     run_break},
    {"remove_break", "", 1, 1, true, false, "", "tag", "remove a breakpoint by tag", run_remove_break},
    {"resume", "", 1, 1, true, false, "", "tag", "resumes the request tagged as tag", run_resume},
    {"wait_break", "", 1, 1, true, false, "", "tag", "waits for the suspension of a request", run_wait_break},
};

}  // namespace

std::span<const IoCommand> io_break_commands() { return break_commands; }

}  // namespace byre::cli
