// A stale Unix socket, left by a server that was killed, is told from one in use by connecting to it.

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "base/text.h"
#include "byre/task/socket.h"

namespace byre {
namespace {

constexpr int waiting_connections = 128;

std::unexpected<Error> failed(std::string_view what) { return std::unexpected(Error::from_errno(errno, what)); }

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path || path.find('\0') != std::string::npos) {
    return fail(ErrorCode::invalid_argument, "'{}' cannot be the path of a socket: 1 to {} bytes",
                escape_untrusted(path), sizeof address.sun_path - 1);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

const sockaddr* generic(const auto& address) { return reinterpret_cast<const sockaddr*>(&address); }

// Whether the path is a socket that nobody listens on.
bool is_stale(const sockaddr_un& address) {
  struct stat found{};
  if (::lstat(address.sun_path, &found) != 0 || !S_ISSOCK(found.st_mode)) return false;
  const Descriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(probe.get(), generic(address), sizeof address) != 0 && errno == ECONNREFUSED;
}

int bind_path(const Descriptor& descriptor, const sockaddr_un& address) {
  const int status = ::bind(descriptor.get(), generic(address), sizeof address);
  if (status == 0 || errno != EADDRINUSE) return status;
  if (!is_stale(address) || ::unlink(address.sun_path) != 0) {
    errno = EADDRINUSE;
    return -1;
  }
  return ::bind(descriptor.get(), generic(address), sizeof address);
}

Descriptor new_socket(int family) {
  return Descriptor(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

void set_option(int fd, int level, int option) {
  const int on = 1;
  ::setsockopt(fd, level, option, &on, sizeof on);
}

std::string text_of(const sockaddr_storage& address, socklen_t length) {
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> service{};
  const int status = ::getnameinfo(generic(address), length, host.data(), host.size(), service.data(), service.size(),
                                   NI_NUMERICHOST | NI_NUMERICSERV);
  if (status != 0) return "a socket";
  const char* pattern = address.ss_family == AF_INET6 ? "[{}]:{}" : "{}:{}";
  return fmt::format(fmt::runtime(pattern), host.data(), service.data());
}

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

Result<Addresses> find_addresses(const std::string& address, int flags, std::string_view what) {
  addrinfo hints{};
  hints.ai_flags = flags;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* first = nullptr;
  const int status = ::getaddrinfo(address.c_str(), nullptr, &hints, &first);
  if (status != 0) return fail(ErrorCode::invalid_argument, "{}: {}", what, ::gai_strerror(status));
  return Addresses(first, ::freeaddrinfo);
}

// The address with this port.
sockaddr_storage with_port(const addrinfo& found, std::uint16_t port) {
  sockaddr_storage address{};
  std::memcpy(&address, found.ai_addr, found.ai_addrlen);
  const in_port_t wanted = htons(port);
  if (found.ai_family == AF_INET) reinterpret_cast<sockaddr_in&>(address).sin_port = wanted;
  if (found.ai_family == AF_INET6) reinterpret_cast<sockaddr_in6&>(address).sin6_port = wanted;
  return address;
}

// Listens on one address that was found.
Result<Descriptor> listen_on(const addrinfo& found, std::uint16_t port, std::string_view what) {
  Descriptor descriptor = new_socket(found.ai_family);
  if (descriptor.get() < 0) return failed(what);
  set_option(descriptor.get(), SOL_SOCKET, SO_REUSEADDR);
  if (found.ai_family == AF_INET6) set_option(descriptor.get(), IPPROTO_IPV6, IPV6_V6ONLY);
  const sockaddr_storage address = with_port(found, port);
  if (::bind(descriptor.get(), generic(address), found.ai_addrlen) != 0) return failed(what);
  if (::listen(descriptor.get(), waiting_connections) != 0) return failed(what);
  return descriptor;
}

}  // namespace

Result<Socket> Socket::to_path(const std::string& path) {
  BYRE_TRY(const sockaddr_un address, unix_address(path));
  Descriptor descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (descriptor.get() < 0 || ::connect(descriptor.get(), generic(address), sizeof address) != 0) {
    return failed(fmt::format("cannot connect to the socket '{}'", escape_untrusted(path)));
  }
  return Socket(std::move(descriptor));
}

Result<Socket> Socket::to_port(const std::string& address, std::uint16_t port) {
  const std::string what = fmt::format("cannot connect to '{}', port {}", escape_untrusted(address), port);
  BYRE_TRY(const Addresses all, find_addresses(address, 0, what));
  for (const addrinfo* found = all.get(); found; found = found->ai_next) {
    Descriptor descriptor(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_storage target = with_port(*found, port);
    if (descriptor.get() < 0 || ::connect(descriptor.get(), generic(target), found->ai_addrlen) != 0) continue;
    set_option(descriptor.get(), IPPROTO_TCP, TCP_NODELAY);
    return Socket(std::move(descriptor));
  }
  return failed(what);
}

Listener::Listener(Listener&& other) noexcept
    : descriptor_(std::move(other.descriptor_)),
      path_(std::exchange(other.path_, {})),
      name_(std::move(other.name_)),
      port_(other.port_),
      stopped_(other.stopped_) {}

Listener::~Listener() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

Result<Listener> Listener::on_path(std::string path) {
  BYRE_TRY(const sockaddr_un address, unix_address(path));
  const std::string what = fmt::format("cannot listen on the socket '{}'", escape_untrusted(path));
  Listener listener(new_socket(AF_UNIX));
  if (listener.descriptor_.get() < 0 || bind_path(listener.descriptor_, address) != 0) return failed(what);
  listener.path_ = std::move(path);
  if (::listen(listener.descriptor_.get(), waiting_connections) != 0) return failed(what);
  BYRE_CHECK(listener.learn_name());
  return listener;
}

Result<std::vector<Listener>> Listener::on_port(const std::string& address, std::uint16_t port) {
  const std::string what = fmt::format("cannot listen on '{}', port {}", escape_untrusted(address), port);
  BYRE_TRY(const Addresses all, find_addresses(address, AI_PASSIVE, what));
  std::vector<Listener> listeners;
  for (const addrinfo* found = all.get(); found; found = found->ai_next) {
    BYRE_TRY(Descriptor descriptor, listen_on(*found, port, what));
    listeners.push_back(Listener(std::move(descriptor)));
    BYRE_CHECK(listeners.back().learn_name());
    port = listeners.back().port_;
  }
  return listeners;
}

Result<Listener> Listener::adopt(Descriptor descriptor) {
  int listens = 0;
  socklen_t length = sizeof listens;
  if (::getsockopt(descriptor.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0 || listens == 0) {
    return fail(ErrorCode::invalid_argument, "file descriptor {} is no listening socket", descriptor.get());
  }
  ::fcntl(descriptor.get(), F_SETFL, ::fcntl(descriptor.get(), F_GETFL) | O_NONBLOCK);
  ::fcntl(descriptor.get(), F_SETFD, FD_CLOEXEC);
  Listener listener(std::move(descriptor));
  BYRE_CHECK(listener.learn_name());
  return listener;
}

Result<void> Listener::learn_name() {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(descriptor_.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return failed("cannot tell what a socket is bound to");
  }
  if (address.ss_family == AF_UNIX) {
    const auto& local = reinterpret_cast<const sockaddr_un&>(address);
    name_ = fmt::format("unix:{}", escape_untrusted(std::string_view(
                                       local.sun_path, ::strnlen(local.sun_path, sizeof local.sun_path))));
    return {};
  }
  name_ = text_of(address, length);
  if (address.ss_family == AF_INET) port_ = ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  if (address.ss_family == AF_INET6) port_ = ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return {};
}

Task<Result<Socket>> Listener::accept() {
  for (;;) {
    if (stopped_) co_return fail(ErrorCode::cancelled, "{}: no longer listening", name_);
    Descriptor connection(::accept4(descriptor_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    const int error = errno;
    if (connection.get() >= 0) {
      if (port_ != 0) set_option(connection.get(), IPPROTO_TCP, TCP_NODELAY);
      co_return Socket(std::move(connection));
    }
    if (error == EAGAIN || error == EWOULDBLOCK) {
      BYRE_CO_CHECK(co_await wait_readable(descriptor_.get()));
    } else if (error != EINTR && error != ECONNABORTED && !stopped_) {
      co_return std::unexpected(Error::from_errno(error, fmt::format("{}: cannot accept a connection", name_)));
    }
  }
}

void Listener::stop() noexcept {
  stopped_ = true;
  ::shutdown(descriptor_.get(), SHUT_RDWR);
}

}  // namespace byre
