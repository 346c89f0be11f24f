// Stream sockets on a loop: connections, and a place where they arrive.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "byre/task/task.h"

namespace byre {

// A descriptor that is closed with its owner.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();
  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

// One end of a connection. One receive() and one send() may be under way at a time; it must stay where it is, and must
// not be destroyed, while one is. Buffers belong to the caller and must live until the awaited call returns.
class Socket {
 public:
  // Takes a connected stream socket over, which must not be set to O_NONBLOCK.
  explicit Socket(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}

  // Connects; the loop stands still meanwhile. Errors: invalid_argument, io (nobody listens there).
  static Result<Socket> to_path(const std::string& path);
  static Result<Socket> to_port(const std::string& address, std::uint16_t port);

  enum class Until {
    any,   // as much as has arrived
    full,  // all of the target, as far as one request to the kernel can wait for that; less is possible
  };
  // At least one byte of `target` (not empty); 0 at the end of the stream.
  Task<Result<std::size_t>> receive(Bytes target, Until until = Until::any);

  // All parts, one behind the other. Errors: io (the other end is gone).
  Task<Result<void>> send(std::span<const ConstBytes> parts);

  // What is under way returns; what comes later finds the end of the stream.
  void shut_down() noexcept;
  // The same for receive() alone.
  void shut_down_receiving() noexcept;

 private:
  Descriptor descriptor_;
};

// Waits until the descriptor is readable, or its other end hung up.
Task<Result<void>> wait_readable(int fd);

// A listening socket. A path that it made goes with it.
class Listener {
 public:
  // Binds a Unix socket to `path`. One that is there and that nobody listens on is replaced. Errors: invalid_argument
  // (longer than the system can), io (EADDRINUSE: something else is there).
  static Result<Listener> on_path(std::string path);

  // One for each address that the numeric or local name stands for; port 0: one that is free, the same for all.
  static Result<std::vector<Listener>> on_port(const std::string& address, std::uint16_t port);

  // Takes over what another program has bound and passes on (socket activation); it listens already.
  static Result<Listener> adopt(Descriptor descriptor);

  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  // The next connection. Errors: cancelled (after stop()), io.
  Task<Result<Socket>> accept();
  // accept() under way returns, and every later one.
  void stop() noexcept;

  // "unix:/run/vm.sock", "127.0.0.1:10809", "[::1]:10809".
  const std::string& name() const { return name_; }
  std::uint16_t port() const { return port_; }  // 0: not TCP

 private:
  explicit Listener(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}
  Result<void> learn_name();

  Descriptor descriptor_;
  std::string path_;
  std::string name_;
  std::uint16_t port_ = 0;
  bool stopped_ = false;
};

}  // namespace byre
