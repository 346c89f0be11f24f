// A worker thread does the waiting, with looks at the interrupt in between.
//
// A write to a pipe waits until all of it has been taken, which may be never. So the pipe is opened once more, in a way
// that does not wait: setting the caller's own descriptor so would change it for every process that shares it. Where
// that cannot be done a write is so short that one that may begin does not wait.

#include "byre/task/pipe_end.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <functional>
#include <utility>

#include "byre/task/event_loop.h"

namespace byre {

namespace {

constexpr int deaf_milliseconds = 20;  // how long an interrupt is not heard while nothing comes or goes
constexpr int wanted_pipe_bytes = 1 << 20;

struct BlockingCall {
  std::function<void()> work;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> self) {
    EventLoop::current().poller().offload_blocking(std::move(work), self);
  }
  void await_resume() const noexcept {}
};

}  // namespace

PipeEnd::PipeEnd(int descriptor, Direction direction, std::string name, const std::atomic<bool>* cancel)
    : descriptor_(descriptor), name_(std::move(name)), cancel_(cancel) {
  struct stat info = {};
  if (::fstat(descriptor_, &info) != 0) return;  // the first call tells
  if (S_ISSOCK(info.st_mode)) kind_ = Kind::socket;
  if (!S_ISFIFO(info.st_mode)) return;
  kind_ = Kind::fifo;
  (void)::fcntl(descriptor_, F_SETPIPE_SZ, wanted_pipe_bytes);  // only faster
  if (direction == Direction::receives) return;
  const std::string path = "/proc/self/fd/" + std::to_string(descriptor_);
  unblocked_ = Descriptor(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
}

Error PipeEnd::error_of(int number) const {
  if (number == ECANCELED) return Error(ErrorCode::cancelled, "interrupted");
  return Error::from_errno(number, name_);
}

// 0 once the descriptor is ready or broken, else an error's number.
int PipeEnd::wait(short events) const {
  for (;;) {
    if (cancel_ && cancel_->load()) return ECANCELED;
    pollfd other_end{descriptor_, events, 0};
    const int ready = ::poll(&other_end, 1, deaf_milliseconds);
    if (ready > 0) return 0;
    if (ready < 0 && errno != EINTR) return errno;
  }
}

int PipeEnd::receive_blocking(Bytes target, std::size_t least_bytes, std::size_t& got) const {
  while (got < least_bytes) {
    if (const int problem = wait(POLLIN)) return problem;
    const ssize_t count = ::read(descriptor_, target.data() + got, target.size() - got);
    if (count == 0) break;
    if (count < 0 && errno != EINTR && errno != EAGAIN) return errno;
    if (count > 0) got += static_cast<std::size_t>(count);
  }
  return 0;
}

Task<Result<std::size_t>> PipeEnd::receive(Bytes target, std::size_t least_bytes) {
  int problem = 0;
  std::size_t got = 0;
  BlockingCall call{
      [this, target, least_bytes, &problem, &got] { problem = receive_blocking(target, least_bytes, got); }};
  co_await call;
  if (problem != 0) co_return std::unexpected(error_of(problem));
  co_return got;
}

ssize_t PipeEnd::send_some(ConstBytes bytes) const {
  if (kind_ == Kind::socket) return ::send(descriptor_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (kind_ == Kind::file) return ::write(descriptor_, bytes.data(), bytes.size());
  if (unblocked_.get() >= 0) return ::write(unblocked_.get(), bytes.data(), bytes.size());
  return ::write(descriptor_, bytes.data(), std::min<std::size_t>(bytes.size(), PIPE_BUF));
}

int PipeEnd::send_blocking(ConstBytes bytes) const {
  while (!bytes.empty()) {
    if (const int problem = wait(POLLOUT)) return problem;
    const ssize_t written = send_some(bytes);
    if (written < 0 && errno != EAGAIN && errno != EINTR) return errno;
    if (written > 0) bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return 0;
}

Task<Result<void>> PipeEnd::send(ConstBytes bytes) {
  if (bytes.empty()) co_return Result<void>{};
  int problem = 0;
  BlockingCall call{[this, bytes, &problem] { problem = send_blocking(bytes); }};
  co_await call;
  if (problem != 0) co_return std::unexpected(error_of(problem));
  co_return Result<void>{};
}

}  // namespace byre
