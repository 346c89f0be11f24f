// Stopping requests where a storage is about to be accessed, by hand: set a break point at an event (access_event.h),
// and the next access that follows one is held until it is resumed.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "byre/base/result.h"
#include "byre/storage/access_event.h"
#include "byre/task/task.h"

namespace byre {

class BreakPoints {
 public:
  enum class Change { suspended, resumed };
  using Listener = std::function<void(std::string_view tag, Change change)>;

  // Called when an access is held, or goes on. May be empty.
  void set_listener(Listener listener) { listener_ = std::move(listener); }

  // The next event of this kind holds what follows it, once.
  void set(AccessEvent event, std::string tag) { waiting_.push_back({event, std::move(tag)}); }
  bool is_suspended(std::string_view tag) const;
  // Lets what is held under this tag go on. Errors: not_found.
  Result<void> resume(std::string_view tag);
  // Also takes back what has not stopped anything yet. Errors: not_found.
  Result<void> remove(std::string_view tag);
  void remove_all();

  // For the storage: an event has come; what follows it must call hold().
  void pass(AccessEvent event);
  // Waits as long as break points since the last call say.
  Task<void> hold();

 private:
  struct Point {
    AccessEvent event;
    std::string tag;
  };
  bool erase_suspended(std::string_view tag);

  std::vector<Point> waiting_;
  std::vector<std::string> reached_;  // by the access that comes next
  std::vector<std::string> suspended_;
  Listener listener_;
};

}  // namespace byre
