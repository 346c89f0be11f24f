// libnbd says which of reading and writing it waits for, and that changes with each call into it. So both are watched
// through an epoll instance, which is one descriptor that becomes readable, whatever changed meanwhile.
#include "storage/nbd_connection.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cerrno>

#include "base/text.h"
#include "byre/task/event_loop.h"

namespace byre {

Result<std::shared_ptr<NbdConnection>> NbdConnection::make() {
  BYRE_TRY(const LibNbd* library, LibNbd::load());
  std::shared_ptr<NbdConnection> connection(new NbdConnection(*library));
  connection->handle_ = library->nbd_create();
  connection->events_ = Descriptor(::epoll_create1(EPOLL_CLOEXEC));
  connection->wake_up_ = Descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = connection->wake_up_.get();
  const int added = ::epoll_ctl(connection->events_.get(), EPOLL_CTL_ADD, connection->wake_up_.get(), &event);
  if (!connection->handle_ || added != 0) return std::unexpected(Error::from_errno(errno, "an NBD connection"));
  return connection;
}

NbdConnection::~NbdConnection() {
  if (handle_) library_->nbd_close(handle_);
}

void NbdConnection::wake() noexcept { ::eventfd_write(wake_up_.get(), 1); }

void NbdConnection::disconnect() noexcept {
  if (library_->nbd_aio_is_ready(handle_) == 1) library_->nbd_aio_disconnect(handle_, 0);
  wake();
}

// Has the epoll instance wait for what libnbd waits for now.
Result<void> NbdConnection::watch() {
  const int fd = library_->nbd_aio_get_fd(handle_);
  if (fd < 0) return std::unexpected(library_->error("the NBD connection is lost"));
  const unsigned direction = library_->nbd_aio_get_direction(handle_);
  epoll_event event{};
  event.events = ((direction & LIBNBD_AIO_DIRECTION_READ) != 0 ? EPOLLIN : 0u) |
                 ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0 ? EPOLLOUT : 0u);
  event.data.fd = fd;
  if (connected_ && fd == watched_fd_ && event.events == watched_events_) return {};
  // A descriptor that libnbd has closed has left by itself; another one may have its number.
  int done = ::epoll_ctl(events_.get(), EPOLL_CTL_MOD, fd, &event);
  if (done != 0 && errno == ENOENT) done = ::epoll_ctl(events_.get(), EPOLL_CTL_ADD, fd, &event);
  if (done != 0) return std::unexpected(Error::from_errno(errno, "cannot wait for an NBD server"));
  watched_fd_ = fd;
  watched_events_ = event.events;
  return {};
}

// Waits for the connection once, and has libnbd go on.
Task<Result<void>> NbdConnection::step() {
  BYRE_CO_CHECK(watch());
  BYRE_CO_CHECK(co_await wait_readable(events_.get()));
  epoll_event events[2];
  const int count = ::epoll_wait(events_.get(), events, 2, 0);
  for (int i = 0; i < count; ++i) {
    if (events[i].data.fd == wake_up_.get()) {
      eventfd_t ignored = 0;
      ::eventfd_read(wake_up_.get(), &ignored);
      continue;
    }
    const unsigned direction = library_->nbd_aio_get_direction(handle_);
    const bool ended = (events[i].events & (EPOLLERR | EPOLLHUP)) != 0;
    int done = 0;
    inside_ = true;
    if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0 && (ended || (events[i].events & EPOLLIN) != 0)) {
      done = library_->nbd_aio_notify_read(handle_);
    } else if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0 && (ended || (events[i].events & EPOLLOUT) != 0)) {
      done = library_->nbd_aio_notify_write(handle_);
    }
    inside_ = false;
    if (done != 0) co_return std::unexpected(library_->error("the NBD connection broke"));
  }
  co_return Result<void>{};
}

Task<Result<void>> NbdConnection::finish_connecting() {
  while (library_->nbd_aio_is_ready(handle_) == 0) {
    if (library_->nbd_aio_is_dead(handle_) == 1 || library_->nbd_aio_is_closed(handle_) == 1) {
      co_return std::unexpected(library_->error("cannot connect"));
    }
    BYRE_CO_CHECK(co_await step());
  }
  connected_ = true;
  co_return Result<void>{};
}

// Ends with the last request in flight. A connection that breaks ends them all.
Task<void> NbdConnection::move_on(std::shared_ptr<NbdConnection> self) {
  while (self->in_flight_ > 0) {
    const Result<void> moved = co_await self->step();
    if (!moved) break;
  }
  self->moving_ = false;
}

int NbdConnection::completed(void* user_data, int* error) {
  auto* pending = static_cast<Pending*>(user_data);
  pending->done = true;
  pending->error = *error;
  NbdConnection& connection = pending->connection;
  if (--connection.in_flight_ == 0 && connection.moving_ && !connection.inside_) connection.wake();
  if (pending->waiter) EventLoop::current().schedule(pending->waiter);
  return 1;  // nobody will ask for it any more
}

struct NbdConnection::Finished {
  Pending& pending;
  bool await_ready() const noexcept { return pending.done; }
  void await_suspend(std::coroutine_handle<> self) const noexcept { pending.waiter = self; }
  void await_resume() const noexcept {}
};

Task<Result<void>> NbdConnection::request(Issue issue) {
  Pending pending(*this);
  nbd_completion_callback callback{};
  callback.callback = completed;
  callback.user_data = &pending;
  ++in_flight_;
  const std::int64_t issued = issue(handle_, callback);
  if (issued < 0) {
    if (!pending.done) --in_flight_;
    co_return std::unexpected(library_->error("the NBD server cannot be asked"));
  }
  if (!pending.done && moving_) {
    const Result<void> watched = watch();  // there may be more to write now
    if (!watched) wake();
  }
  if (!pending.done && !moving_) {
    moving_ = true;
    EventLoop::current().spawn(move_on(shared_from_this()));
  }
  Finished finished{pending};
  co_await finished;
  if (pending.error == 0) co_return Result<void>{};
  co_return std::unexpected(Error::from_errno(pending.error, "the NBD server"));
}

}  // namespace byre
