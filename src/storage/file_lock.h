// Cooperative locks between the programs of one host that open an image (docs/format.md Appendix C).
#pragma once

#include <string>

#include "byre/base/result.h"

namespace byre {

enum class LockIntent {
  read,         // reads; tolerates readers
  read_shared,  // reads; tolerates anybody, at its own risk
  write,        // reads, writes, resizes; tolerates readers that tolerate it
};

// Takes the byte locks that belong to the intent on an open descriptor; closing the descriptor gives them back. They
// hold against every other opening of the file, one in the same process included. Fails with ErrorCode::locked if
// another opener's do not agree. Where the file system has no such locks, it succeeds without any.
Result<void> lock_image_file(int fd, const std::string& name, LockIntent intent);

// Ends all locks of the open file behind `fd`, also if somebody else still refers to it: a request of the ring keeps
// its reference for a moment after it has completed, so that close(2) alone may leave the locks behind.
void unlock_image_file(int fd);

}  // namespace byre
