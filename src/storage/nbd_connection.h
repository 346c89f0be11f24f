// A connection to an NBD server: libnbd does the protocol, the loop does the waiting.
#pragma once

#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>

#include "byre/base/result.h"
#include "byre/task/socket.h"
#include "byre/task/task.h"
#include "storage/libnbd_functions.h"

namespace byre {

// Requests may overlap. While there are any, one coroutine of the loop moves the connection on; it holds it, too.
class NbdConnection : public std::enable_shared_from_this<NbdConnection> {
 public:
  static Result<std::shared_ptr<NbdConnection>> make();
  ~NbdConnection();

  // co_await until the server answered what `issue` asked for with the given callback. `issue` returns -1 if it could
  // not ask. Errors: io and what else the server's error means.
  using Issue = std::function<std::int64_t(nbd_handle*, nbd_completion_callback)>;
  Task<Result<void>> request(Issue issue);

  // co_await after nbd_aio_connect_...(): until the export can be used.
  Task<Result<void>> finish_connecting();

  const LibNbd& library() const { return *library_; }
  nbd_handle* handle() const { return handle_; }

  // No request will come any more.
  void disconnect() noexcept;

 private:
  struct Pending {
    explicit Pending(NbdConnection& owner) : connection(owner) {}
    NbdConnection& connection;
    bool done = false;
    int error = 0;
    std::coroutine_handle<> waiter;
  };
  struct Finished;
  static int completed(void* pending, int* error);

  explicit NbdConnection(const LibNbd& library) : library_(&library) {}
  Result<void> watch();
  Task<Result<void>> step();
  static Task<void> move_on(std::shared_ptr<NbdConnection> self);
  void wake() noexcept;

  const LibNbd* library_;
  nbd_handle* handle_ = nullptr;
  Descriptor events_;   // an epoll instance: becomes readable for whatever libnbd waits for
  Descriptor wake_up_;  // an eventfd in it
  int watched_fd_ = -1;
  std::uint32_t watched_events_ = 0;
  bool connected_ = false;  // its descriptor stays the same
  std::size_t in_flight_ = 0;
  bool moving_ = false;  // move_on() runs
  bool inside_ = false;  // and is in libnbd
};

}  // namespace byre
