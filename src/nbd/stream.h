// What a connection's bytes go through: the socket itself, or TLS over it.
#pragma once

#include <span>

#include "byre/task/socket.h"

namespace byre::nbd {

// As Socket: one receive() and one send() at a time.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual Task<Result<std::size_t>> receive(Bytes target, Socket::Until until) = 0;
  virtual Task<Result<void>> send(std::span<const ConstBytes> parts) = 0;
};

class PlainStream final : public Stream {
 public:
  // The socket must outlive it.
  explicit PlainStream(Socket& socket) : socket_(socket) {}
  Task<Result<std::size_t>> receive(Bytes target, Socket::Until until) override {
    return socket_.receive(target, until);
  }
  Task<Result<void>> send(std::span<const ConstBytes> parts) override { return socket_.send(parts); }

 private:
  Socket& socket_;
};

}  // namespace byre::nbd
