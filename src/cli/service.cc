// The background process is the second child of a double fork, so that it has no terminal; a pipe tells the first
// process that it is ready, or ends with it. A signal handler may do little: it makes an eventfd readable.

#include "cli/service.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <string_view>

#include "base/text.h"

namespace byre::cli {
namespace {

constexpr int first_passed_descriptor = 3;  // SD_LISTEN_FDS_START

int end_event = -1;

extern "C" void note_end(int) {
  const int kept = errno;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(end_event, &one, sizeof one);
  errno = kept;
}

std::optional<int> number_in(const char* variable) {
  const char* text = std::getenv(variable);
  if (!text) return std::nullopt;
  const std::string_view digits = text;
  int value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

// What the process in the foreground does: it waits for a byte, or for the other end to be gone.
[[noreturn]] void wait_for_child(const Descriptor& from_child, pid_t child) {
  char byte = 0;
  ssize_t got = 0;
  do {
    got = ::read(from_child.get(), &byte, 1);
  } while (got < 0 && errno == EINTR);
  if (got == 1) ::_exit(0);
  int status = 0;
  ::waitpid(child, &status, 0);
  ::_exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1);
}

}  // namespace

Result<std::vector<Listener>> inherited_listeners() {
  std::vector<Listener> listeners;
  const auto process = number_in("LISTEN_PID");
  const auto count = number_in("LISTEN_FDS");
  for (const char* variable : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(variable);
  if (!process || !count || *process != ::getpid()) return listeners;
  for (int fd = first_passed_descriptor; fd < first_passed_descriptor + *count; ++fd) {
    BYRE_TRY(Listener listener, Listener::adopt(Descriptor(fd)));
    listeners.push_back(std::move(listener));
  }
  return listeners;
}

Result<Background> Background::enter() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::unexpected(Error::from_errno(errno, "cannot make a pipe"));
  const Descriptor from_child(ends[0]);
  Background background;
  background.to_parent_ = Descriptor(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return std::unexpected(Error::from_errno(errno, "cannot start a process"));
  if (child > 0) {
    background.to_parent_ = Descriptor();
    wait_for_child(from_child, child);
  }
  ::setsid();
  return background;
}

void Background::ready() {
  if (to_parent_.get() < 0) return;
  const char byte = 1;
  [[maybe_unused]] const auto written = ::write(to_parent_.get(), &byte, 1);
  to_parent_ = Descriptor();
  const Descriptor nowhere(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(nowhere.get(), stream);
}

Task<Result<void>> close_after(Result<void> outcome, Disk* disk) {
  if (!disk) co_return outcome;
  Result<void> closed = co_await disk->close();
  co_return outcome ? std::move(closed) : std::move(outcome);
}

Result<PidFile> PidFile::write(std::string path) {
  const std::string what = fmt::format("cannot write the process id to '{}'", escape_untrusted(path));
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (file.get() < 0) return std::unexpected(Error::from_errno(errno, what));
  const std::string text = fmt::format("{}\n", ::getpid());
  if (::pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return std::unexpected(Error::from_errno(errno, what));
  }
  return PidFile(std::move(path));
}

PidFile::~PidFile() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

EndSignal::EndSignal() {
  end_event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  struct sigaction action = {};
  action.sa_handler = note_end;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction former = {};
    ::sigaction(signal, nullptr, &former);
    const bool nohup = signal == SIGHUP && former.sa_handler == SIG_IGN;
    if (!nohup) ::sigaction(signal, &action, nullptr);
  }
}

EndSignal::~EndSignal() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction former = {};
    ::sigaction(signal, nullptr, &former);
    if (former.sa_handler == note_end) std::signal(signal, SIG_DFL);
  }
  ::close(std::exchange(end_event, -1));
}

Task<void> EndSignal::wait(std::function<void()> stop) {
  waiting_ = true;
  [[maybe_unused]] const Result<void> waited = co_await wait_readable(end_event);
  if (!released_) stop();
  ended_.set();
}

Task<void> EndSignal::release() {
  released_ = true;
  note_end(0);
  if (waiting_) co_await ended_.wait();
}

Result<void> Running::tell(const std::optional<std::string>& path) {
  if (!path) return {};
  BYRE_TRY(PidFile written, PidFile::write(*path));
  pid_file.emplace(std::move(written));
  return {};
}

}  // namespace byre::cli
