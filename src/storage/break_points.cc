// Who is held looks now and then whether it may go on: so a program that never resumes it waits, and nothing is taken
// for a deadlock.
#include "byre/storage/break_points.h"

#include <algorithm>
#include <chrono>

#include "base/text.h"
#include "byre/task/pause.h"

namespace byre {
namespace {
constexpr std::chrono::milliseconds look_again_after{1};
}

bool BreakPoints::is_suspended(std::string_view tag) const {
  return std::ranges::find(suspended_, tag) != suspended_.end();
}

bool BreakPoints::erase_suspended(std::string_view tag) { return std::erase(suspended_, tag) > 0; }

Result<void> BreakPoints::resume(std::string_view tag) {
  if (erase_suspended(tag)) return {};
  return fail(ErrorCode::not_found, "no request is suspended as '{}'", escape_untrusted(tag));
}

Result<void> BreakPoints::remove(std::string_view tag) {
  const bool was_waiting = std::erase_if(waiting_, [tag](const Point& point) { return point.tag == tag; }) > 0;
  const bool was_suspended = erase_suspended(tag);
  if (was_waiting || was_suspended) return {};
  return fail(ErrorCode::not_found, "there is no break point '{}'", escape_untrusted(tag));
}

void BreakPoints::remove_all() {
  waiting_.clear();
  reached_.clear();
  suspended_.clear();
}

void BreakPoints::pass(AccessEvent event) {
  const auto here = [event](const Point& point) { return point.event == event; };
  for (const Point& point : waiting_) {
    if (here(point)) reached_.push_back(point.tag);
  }
  std::erase_if(waiting_, here);
}

Task<void> BreakPoints::hold() {
  const std::vector<std::string> tags = std::exchange(reached_, {});
  for (const std::string& tag : tags) {
    suspended_.push_back(tag);
    if (listener_) listener_(tag, Change::suspended);
    while (is_suspended(tag)) co_await pause_for(look_again_after);
    if (listener_) listener_(tag, Change::resumed);
  }
}

}  // namespace byre
