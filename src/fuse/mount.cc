// The kernel's requests come through one descriptor. It is watched together with an eventfd, by which stop() ends the
// wait. Unmounting from within needs an answering server: the system flushes the files first, so that it is done by a
// thread while requests go on.

#include "byre/fuse/mount.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/text.h"
#include "byre/task/event_loop.h"
#include "byre/task/socket.h"
#include "byre/task/sync.h"
#include "fuse/requests.h"
#include "fuse/session.h"
#include "fuse/tree.h"

namespace byre::fuse {
namespace {

struct EndSession {
  void operator()(fuse_session* session) const {
    fuse_session_unmount(session);
    fuse_session_destroy(session);
  }
};
using Session = std::unique_ptr<fuse_session, EndSession>;

class LoopMount final : public Mount {
 public:
  LoopMount(std::vector<File> files, MountOptions options) : files_(std::move(files)), options_(std::move(options)) {}
  ~LoopMount() override { std::free(buffer_.mem); }

  Result<void> mount();
  Task<Result<void>> run() override;
  void stop() override;

 private:
  Result<void> make_session();
  Result<void> watch();
  bool serve_all();
  Task<Result<void>> unmount();

  std::vector<File> files_;
  MountOptions options_;
  Tree tree_;
  std::unique_ptr<Requests> requests_;
  Session session_;
  Descriptor watched_;  // an epoll: the session's descriptor and stop_event_
  Descriptor stop_event_;
  fuse_buf buffer_{};
  TaskGroup unmounting_;
  bool stopping_ = false;
};

Result<void> LoopMount::mount() {
  struct stat found{};
  if (::stat(options_.mountpoint.c_str(), &found) != 0) {
    return std::unexpected(Error::from_errno(errno, escape_untrusted(options_.mountpoint)));
  }
  if (!S_ISDIR(found.st_mode) && !S_ISREG(found.st_mode)) {
    return fail(ErrorCode::invalid_argument, "'{}' is neither a directory nor a file",
                escape_untrusted(options_.mountpoint));
  }
  BYRE_TRY(tree_, Tree::make(files_, S_ISREG(found.st_mode)));
  requests_ = std::make_unique<Requests>(tree_, options_.log);
  BYRE_CHECK(make_session());
  return watch();
}

Result<void> LoopMount::make_session() {
  std::vector<std::string> words = {"byre", "-o", "fsname=byre,subtype=byre,default_permissions"};
  if (options_.allow_other) words.back() += ",allow_other";
  std::vector<char*> pointers;
  pointers.reserve(words.size());
  for (std::string& word : words) pointers.push_back(word.data());
  fuse_args arguments = FUSE_ARGS_INIT(static_cast<int>(pointers.size()), pointers.data());
  session_.reset(fuse_session_new(&arguments, &Requests::operations(), sizeof(fuse_lowlevel_ops), requests_.get()));
  if (!session_ || fuse_session_mount(session_.get(), options_.mountpoint.c_str()) != 0) {
    return fail(ErrorCode::refused, "cannot mount on '{}': FUSE says no (is /dev/fuse there, and is it allowed?)",
                escape_untrusted(options_.mountpoint));
  }
  const int fd = fuse_session_fd(session_.get());
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  return {};
}

Result<void> LoopMount::watch() {
  watched_ = Descriptor(::epoll_create1(EPOLL_CLOEXEC));
  stop_event_ = Descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  for (const int fd : {fuse_session_fd(session_.get()), stop_event_.get()}) {
    epoll_event event{};
    event.events = EPOLLIN;
    if (::epoll_ctl(watched_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      return std::unexpected(Error::from_errno(errno, "cannot watch for requests"));
    }
  }
  return {};
}

Task<Result<void>> LoopMount::run() {
  while (serve_all()) BYRE_CO_CHECK(co_await wait_readable(watched_.get()));
  co_await requests_->finish();
  [[maybe_unused]] const Result<void> unmounted = co_await unmounting_.join();
  session_.reset();
  co_return Result<void>{};
}

// Whatever has arrived. False if it is over: unmounted, or stopped and still in use.
bool LoopMount::serve_all() {
  fuse_session* session = session_.get();
  while (fuse_session_exited(session) == 0) {
    const int got = fuse_session_receive_buf(session, &buffer_);
    if (got == -EAGAIN) return true;
    if (got == -EINTR) continue;
    if (got <= 0) return false;
    fuse_session_process_buf(session, &buffer_);
  }
  return false;
}

void LoopMount::stop() {
  if (std::exchange(stopping_, true)) return;
  unmounting_.start(unmount());
}

// Where that fails, because a file is open or because only the helper program may do it, the end of the session does
// it.
Task<Result<void>> LoopMount::unmount() {
  int status = -1;
  const std::string mountpoint = options_.mountpoint;
  auto away = offload([&status, &mountpoint] { status = ::umount2(mountpoint.c_str(), UMOUNT_NOFOLLOW); });
  co_await away;
  if (status == 0) co_return Result<void>{};  // the session sees it
  fuse_session_exit(session_.get());
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(stop_event_.get(), &one, sizeof one);
  co_return Result<void>{};
}

}  // namespace

Result<std::unique_ptr<Mount>> Mount::make(std::vector<File> files, MountOptions options) {
  auto made = std::make_unique<LoopMount>(std::move(files), std::move(options));
  BYRE_CHECK(made->mount());
  return made;
}

}  // namespace byre::fuse
