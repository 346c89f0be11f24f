// Sockets on a loop, with io_uring and without.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "byre/task/event_loop.h"
#include "byre/task/pollers.h"
#include "byre/task/socket.h"
#include "byre/task/sync.h"

namespace byre {
namespace {

class Sockets : public testing::TestWithParam<IoMode> {
 protected:
  void SetUp() override {
    auto loop = make_event_loop(GetParam());
    if (!loop && GetParam() == IoMode::uring) GTEST_SKIP() << loop.error().message();
    ASSERT_TRUE(loop) << loop.error().message();
    loop_ = *std::move(loop);
  }
  static std::pair<Socket, Socket> pair() {
    std::array<int, 2> fds{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
    return {Socket(Descriptor(fds[0])), Socket(Descriptor(fds[1]))};
  }
  std::unique_ptr<EventLoop> loop_;
};

std::vector<std::byte> pattern(std::size_t length_bytes) {
  std::vector<std::byte> bytes(length_bytes);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 251);
  return bytes;
}

Task<Result<void>> send_all(Socket& socket, const std::vector<std::byte>& bytes) {
  const std::array<ConstBytes, 3> parts = {ConstBytes(bytes).first(1), ConstBytes(), ConstBytes(bytes).subspan(1)};
  co_return co_await socket.send(parts);
}

Task<Result<void>> receive_all(Socket& socket, std::vector<std::byte>& bytes) {
  std::array<std::byte, 5000> some{};
  for (;;) {
    BYRE_CO_TRY(const std::size_t got, co_await socket.receive(some));
    if (got == 0) co_return Result<void>{};
    bytes.insert(bytes.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(got));
  }
}

Task<Result<void>> send_and_end(Socket& socket, const std::vector<std::byte>& bytes) {
  BYRE_CO_CHECK(co_await send_all(socket, bytes));
  socket.shut_down();
  co_return Result<void>{};
}

// More than the system buffers, so that the sender has to wait for the receiver.
TEST_P(Sockets, CarryWhatIsLongerThanTheirBuffers) {
  auto [left, right] = pair();
  const std::vector<std::byte> sent = pattern(3'000'000);
  std::vector<std::byte> received;
  const auto both = [&]() -> Task<Result<void>> {
    TaskGroup group;
    group.start(send_and_end(left, sent));
    group.start(receive_all(right, received));
    co_return co_await group.join();
  };
  ASSERT_TRUE(loop_->run(both()));
  EXPECT_EQ(received, sent);
}

Task<Result<void>> shut_down_later(Socket& socket) {
  for (int i = 0; i < 3; ++i) co_await yield_now();
  socket.shut_down_receiving();
  co_return Result<void>{};
}

TEST_P(Sockets, ReceivingEndsWhenItIsShutDown) {
  auto [left, right] = pair();
  std::vector<std::byte> received;
  const auto both = [&]() -> Task<Result<void>> {
    TaskGroup group;
    group.start(receive_all(left, received));
    group.start(shut_down_later(left));
    co_return co_await group.join();
  };
  EXPECT_TRUE(loop_->run(both()));
  const std::vector<std::byte> one = pattern(1);
  EXPECT_TRUE(loop_->run(send_all(left, one))) << "the other direction is still open";
}

TEST_P(Sockets, SendingToAnEndThatIsGoneIsAnErrorAndNoSignal) {
  auto [left, right] = pair();
  {
    const Socket gone = std::move(right);
  }
  const std::vector<std::byte> bytes = pattern(100);
  const Result<void> sent = loop_->run(send_all(left, bytes));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().errno_value(), EPIPE);
}

int connect_to(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  ::close(fd);
  return -1;
}

bool exists(const std::string& path) {
  struct stat found{};
  return ::lstat(path.c_str(), &found) == 0;
}

std::string fresh_path(const char* name) {
  std::string path = testing::TempDir() + "byre-" + std::to_string(::getpid()) + "-" + name;
  ::unlink(path.c_str());
  return path;
}

TEST_P(Sockets, AListenerTakesConnectionsAndItsPathGoesWithIt) {
  const std::string path = fresh_path("listener");
  {
    auto listener = Listener::on_path(path);
    ASSERT_TRUE(listener) << listener.error().message();
    EXPECT_EQ(listener->name(), "unix:" + path);
    const Descriptor client(connect_to(path));
    ASSERT_GE(client.get(), 0);
    auto socket = loop_->run(listener->accept());
    ASSERT_TRUE(socket) << socket.error().message();
    ASSERT_EQ(::send(client.get(), "hi", 2, 0), 2);
    std::array<std::byte, 10> bytes{};
    EXPECT_EQ(loop_->run(socket->receive(bytes)).value_or(0), 2U);
  }
  EXPECT_FALSE(exists(path));
}

TEST_P(Sockets, AListenerThatIsStoppedLetsAcceptReturn) {
  const std::string path = fresh_path("stopped");
  auto listener = Listener::on_path(path);
  ASSERT_TRUE(listener);
  const auto stop_later = [](Listener& stopped) -> Task<Result<void>> {
    for (int i = 0; i < 3; ++i) co_await yield_now();
    stopped.stop();
    co_return Result<void>{};
  };
  const auto accept = [](Listener& from, ErrorCode& code) -> Task<Result<void>> {
    auto socket = co_await from.accept();
    if (!socket) code = socket.error().code();
    co_return Result<void>{};
  };
  ErrorCode code = ErrorCode::io;
  const auto both = [&]() -> Task<Result<void>> {
    TaskGroup group;
    group.start(accept(*listener, code));
    group.start(stop_later(*listener));
    co_return co_await group.join();
  };
  ASSERT_TRUE(loop_->run(both()));
  EXPECT_EQ(code, ErrorCode::cancelled);
}

TEST_P(Sockets, AStalePathIsReplacedButNothingElse) {
  const std::string path = fresh_path("stale");
  const auto first = Listener::on_path(path);
  ASSERT_TRUE(first);
  EXPECT_EQ(Listener::on_path(path).error().errno_value(), EADDRINUSE) << "in use";
  const std::string other = fresh_path("other");
  ASSERT_EQ(::rename(path.c_str(), other.c_str()), 0);  // it does not remove what is not at its path any more
  {
    const Descriptor dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  EXPECT_TRUE(Listener::on_path(path)) << "nobody listens there";
  ASSERT_EQ(::symlink("/nowhere", path.c_str()), 0);
  EXPECT_FALSE(Listener::on_path(path)) << "no socket";
  EXPECT_TRUE(exists(path));
  ::unlink(path.c_str());
  ::unlink(other.c_str());
}

TEST_P(Sockets, APortIsChosenWhereNoneIsGiven) {
  const auto listeners = Listener::on_port("127.0.0.1", 0);
  ASSERT_TRUE(listeners) << listeners.error().message();
  ASSERT_EQ(listeners->size(), 1U);
  EXPECT_NE(listeners->front().port(), 0);
  EXPECT_EQ(listeners->front().name(), "127.0.0.1:" + std::to_string(listeners->front().port()));
  EXPECT_EQ(Listener::on_port("127.0.0.1", listeners->front().port()).error().errno_value(), EADDRINUSE);
}

TEST_P(Sockets, AddressesThatCannotBeAreNamed) {
  EXPECT_EQ(Listener::on_path(std::string(200, 'x')).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(Listener::on_path("").error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(Listener::on_port("no.such.host.invalid", 1).error().code(), ErrorCode::invalid_argument);
  const Descriptor pipe_like(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(Listener::adopt(Descriptor(::dup(pipe_like.get()))).error().code(), ErrorCode::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(Modes, Sockets, testing::Values(IoMode::uring, IoMode::threads),
                         [](const auto& mode) { return mode.param == IoMode::uring ? "uring" : "threads"; });

}  // namespace
}  // namespace byre
