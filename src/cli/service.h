// What a command needs that stays: going to the background, a file with its process id, sockets that another program
// made, and ending on a signal.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "byre/base/result.h"
#include "byre/data/disk.h"
#include "byre/task/socket.h"
#include "byre/task/sync.h"

namespace byre::cli {

// Listening sockets passed on by a service manager (LISTEN_PID, LISTEN_FDS), each from descriptor 3 on. None if there
// are none for this process; the variables are taken out of the environment.
Result<std::vector<Listener>> inherited_listeners();

// Goes to the background: the calling process stays until the new one calls ready(), or ends, and then exits with 0 or
// with the new one's exit code; only the new one returns from the constructor. To be made before any thread or loop.
class Background {
 public:
  Background() = default;  // stays in the foreground
  static Result<Background> enter();
  // The caller of the first process gets its prompt back, and the standard streams lead nowhere from then on.
  void ready();

 private:
  Descriptor to_parent_;
};

// Closes the disk, if there is one, and returns the first error of both.
Task<Result<void>> close_after(Result<void> outcome, Disk* disk);

// Holds the process id while it lives.
class PidFile {
 public:
  static Result<PidFile> write(std::string path);
  PidFile(PidFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  PidFile& operator=(PidFile&&) = delete;
  ~PidFile();

 private:
  explicit PidFile(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// From its construction on SIGINT, SIGTERM and SIGHUP no longer end the process; the first one ends wait().
// There is one at a time.
class EndSignal {
 public:
  EndSignal();
  ~EndSignal();
  EndSignal(const EndSignal&) = delete;
  EndSignal& operator=(const EndSignal&) = delete;

  // To be spawned; `stop` is called when the signal comes.
  Task<void> wait(std::function<void()> stop);
  // Ends wait(), and returns when it has ended.
  Task<void> release();

 private:
  bool waiting_ = false;
  bool released_ = false;
  Event ended_;
};

// What a service holds until its images are closed: a signal before that would lose what it has not written back, and
// who finds the pid file gone takes the images for free.
struct Running {
  EndSignal signal;
  std::optional<PidFile> pid_file;

  // Writes it, if it is wanted.
  Result<void> tell(const std::optional<std::string>& path);
};

}  // namespace byre::cli
