// A connection is a loop around single calls: what a call leaves over, the next one takes. Listening sockets do not
// block, since a connection that was announced may be gone when it is accepted.

#include "byre/task/socket.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "base/text.h"
#include "task/socket_call.h"

namespace byre {
namespace {

bool again(std::int64_t result) { return result == -EINTR || result == -EAGAIN; }

Error socket_error(std::int64_t result, std::string_view what) {
  return Error::from_errno(static_cast<int>(-result), what);
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Task<Result<std::size_t>> Socket::receive(Bytes target, Until until) {
  for (;;) {
    SocketCall call = SocketCall::receive(descriptor_.get(), target, until == Until::full ? MSG_WAITALL : 0);
    const std::int64_t got = co_await call;
    if (got >= 0) co_return static_cast<std::size_t>(got);
    if (!again(got)) co_return std::unexpected(socket_error(got, "cannot receive from the connection"));
  }
}

Task<Result<void>> Socket::send(std::span<const ConstBytes> parts) {
  TransferVectors left(parts);
  while (left.left_bytes() > 0) {
    SocketCall call = SocketCall::send(descriptor_.get(), left);
    const std::int64_t sent = co_await call;
    if (sent >= 0) {
      left.advance(static_cast<std::uint64_t>(sent));
    } else if (!again(sent)) {
      co_return std::unexpected(socket_error(sent, "cannot send to the connection"));
    }
  }
  co_return Result<void>{};
}

void Socket::shut_down() noexcept { ::shutdown(descriptor_.get(), SHUT_RDWR); }
void Socket::shut_down_receiving() noexcept { ::shutdown(descriptor_.get(), SHUT_RD); }

Task<Result<void>> wait_readable(int fd) {
  for (;;) {
    SocketCall call = SocketCall::readable(fd);
    const std::int64_t result = co_await call;
    if (result >= 0) co_return Result<void>{};
    if (!again(result)) co_return std::unexpected(socket_error(result, "cannot wait for a descriptor"));
  }
}

}  // namespace byre
