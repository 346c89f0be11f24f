// Leaves it to the kernel's own threads to free what a removed file has in memory, which takes 70 ms for each gigabyte.
#pragma once

#include <string>

namespace byre {

// Refers to the file of that name until its end, and gives it up without waiting for what that costs, whether or not it
// is the last to refer to it. Does nothing where there is no io_uring, and for short files: what those cost is little,
// and their space is free at once.
class LateRelease {
 public:
  explicit LateRelease(const std::string& path);
  LateRelease(const LateRelease&) = delete;
  LateRelease& operator=(const LateRelease&) = delete;
  ~LateRelease();

 private:
  int ring_ = -1;
};

}  // namespace byre
