// O_NONBLOCK belongs to an open file, which others share, so it is not set on what was given. A pipe is opened again,
// without waiting; a socket can be told with each call. What else there is, terminals and files, is asked first whether
// it has room.
//
// Left out: a pipe that cannot be opened again (no /proc) is asked, too. If several programs write into it, one may
// fill it between question and write, and the write waits for the reader.
#include "cli/event_stream.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/text.h"

namespace byre::cli {

Result<EventStream> EventStream::on(int descriptor) {
  const int flags = ::fcntl(descriptor, F_GETFL);
  struct stat status{};
  if (flags < 0 || ::fstat(descriptor, &status) != 0) {
    return fail(ErrorCode::invalid_argument, "descriptor {} is not open", descriptor);
  }
  if ((flags & O_ACCMODE) == O_RDONLY || (flags & O_PATH) != 0) {
    return fail(ErrorCode::invalid_argument, "descriptor {} is not open for writing", descriptor);
  }
  EventStream stream(descriptor, S_ISSOCK(status.st_mode));
  if (S_ISFIFO(status.st_mode)) stream.open_pipe_again();
  return stream;
}

void EventStream::open_pipe_again() {
  const std::string name = fmt::format("/proc/self/fd/{}", descriptor_);
  own_ = Descriptor(::open(name.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
  gone_ = own_.get() < 0 && errno == ENXIO;  // nobody reads
}

// How much was taken: nothing if there is no room now.
std::size_t EventStream::write_some(std::string_view text) {
  ssize_t written = -1;
  if (is_socket_) {
    written = ::send(target(), text.data(), text.size(), MSG_DONTWAIT);
  } else {
    pollfd room{target(), POLLOUT, 0};
    if (::poll(&room, 1, 0) != 1) return 0;
    written = ::write(target(), text.data(), text.size());
  }
  if (written >= 0) return static_cast<std::size_t>(written);
  gone_ = errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR;
  return 0;
}

void EventStream::send(std::string_view line) {
  if (!gone_ && !rest_.empty()) rest_.erase(0, write_some(rest_));
  if (gone_ || !rest_.empty()) return;
  const std::size_t taken = write_some(line);
  if (taken > 0) rest_ = line.substr(taken);
}

}  // namespace byre::cli
