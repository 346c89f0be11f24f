// One end of a pipe, or of whatever else a descriptor leads to whose bytes come or go in order.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <string>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "byre/task/socket.h"
#include "byre/task/task.h"

namespace byre {

// One call may be under way at a time. Calls end (cancelled) soon after `cancel` (may be null) has become true, also
// while the other end does nothing. Buffers belong to the caller and must live until the awaited call returns.
class PipeEnd {
 public:
  enum class Direction { receives, sends };
  // The descriptor stays the caller's, and is changed in no way that others who share it would notice.
  PipeEnd(int descriptor, Direction direction, std::string name, const std::atomic<bool>* cancel);

  // At least so many bytes, with what is there already; fewer only where the stream ends. Errors: io.
  Task<Result<std::size_t>> receive(Bytes target, std::size_t least_bytes);

  // All of it. Errors: io (EPIPE where nobody will read; SIGPIPE must be ignored).
  Task<Result<void>> send(ConstBytes bytes);

  int descriptor() const { return descriptor_; }
  const std::string& name() const { return name_; }

 private:
  enum class Kind { file, fifo, socket };
  int wait(short events) const;
  int receive_blocking(Bytes target, std::size_t least_bytes, std::size_t& got) const;
  int send_blocking(ConstBytes bytes) const;
  ssize_t send_some(ConstBytes bytes) const;
  Error error_of(int number) const;

  int descriptor_;
  std::string name_;
  const std::atomic<bool>* cancel_;
  Kind kind_ = Kind::file;
  Descriptor unblocked_;  // the same pipe, where no write waits
};

}  // namespace byre
