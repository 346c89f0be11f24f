// Lines for another program, on a descriptor that it has opened for them.
#pragma once

#include <string>
#include <string_view>

#include "byre/base/result.h"
#include "byre/task/socket.h"

namespace byre::cli {

// Whatever the reader does, the writer neither waits nor ends: a line that finds no room is dropped, and all of them
// once the reader has gone. SIGPIPE must be ignored (interrupt.h). A line that has begun is completed before the next.
class EventStream {
 public:
  // `descriptor` stays the caller's, must stay open, and keeps its flags. Errors: it is not open for writing.
  static Result<EventStream> on(int descriptor);

  // The line ends in a newline and is shorter than PIPE_BUF, so that those of several writers do not mix in a pipe.
  void send(std::string_view line);

 private:
  EventStream(int descriptor, bool is_socket) : descriptor_(descriptor), is_socket_(is_socket) {}
  void open_pipe_again();
  int target() const { return own_.get() >= 0 ? own_.get() : descriptor_; }
  std::size_t write_some(std::string_view text);

  int descriptor_;
  bool is_socket_;
  bool gone_ = false;
  Descriptor own_;    // the pipe, opened again
  std::string rest_;  // of a line that was not taken whole
};

}  // namespace byre::cli
