// A signal that interrupts a system call, or a call that does less than it was asked to, is not to be seen above
// storage/: the calls are made again, for the rest. The calls themselves are replaced here, by functions of the same
// names that now and then do nothing (EINTR) or only a part.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "byre/storage/file.h"
#include "byre/storage/memory.h"
#include "byre/storage/simulated.h"
#include "byre/task/pollers.h"
#include "support/temporary_directory.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BYRE_TEST_REPLACES_CALLS 0  // the sanitizers have replaced them already
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define BYRE_TEST_REPLACES_CALLS 0
#endif
#endif
#ifndef BYRE_TEST_REPLACES_CALLS
#define BYRE_TEST_REPLACES_CALLS 1
#endif

#if BYRE_TEST_REPLACES_CALLS

namespace {

std::atomic<bool> disturbing = false;
std::atomic<unsigned> calls = 0;
std::atomic<unsigned> interrupted = 0;
std::atomic<unsigned> shortened = 0;

// Two of three calls are interrupted, so that the second attempt is, too.
bool interrupts() {
  if (!disturbing || calls++ % 3 == 2) return false;
  ++interrupted;
  errno = EINTR;
  return true;
}

// A transfer of several parts does the first; a transfer of one, half of it.
struct Shorter {
  Shorter(const iovec* vectors, int count) : first(vectors[0]), all(vectors), parts(count) {
    if (!disturbing || (count == 1 && first.iov_len < 2)) return;
    ++shortened;
    if (count == 1) first.iov_len /= 2;
    all = &first;
    parts = 1;
  }
  iovec first;
  const iovec* all;
  int parts;
};

long transfer(long number, int fd, const iovec* vectors, int count, off_t offset) {
  if (interrupts()) return -1;
  const Shorter shorter(vectors, count);
  return ::syscall(number, fd, shorter.all, shorter.parts, offset, 0L);
}

}  // namespace

extern "C" {
ssize_t preadv(int fd, const iovec* vectors, int count, off_t offset) {
  return transfer(SYS_preadv, fd, vectors, count, offset);
}
ssize_t pwritev(int fd, const iovec* vectors, int count, off_t offset) {
  return transfer(SYS_pwritev, fd, vectors, count, offset);
}
int fdatasync(int fd) { return interrupts() ? -1 : static_cast<int>(::syscall(SYS_fdatasync, fd)); }
int fallocate(int fd, int mode, off_t offset, off_t length) {
  return interrupts() ? -1 : static_cast<int>(::syscall(SYS_fallocate, fd, mode, offset, length));
}
int ftruncate(int fd, off_t length) noexcept {
  return interrupts() ? -1 : static_cast<int>(::syscall(SYS_ftruncate, fd, length));
}
}

namespace byre {
namespace {

constexpr std::uint64_t size_limit = 1 << 20;

class Interrupted : public testing::Test {
 protected:
  void SetUp() override {
    auto loop = make_event_loop(IoMode::threads);
    ASSERT_TRUE(loop);
    loop_ = std::move(*loop);
    FileOptions options;
    options.writable = options.create = true;
    auto opened = open_file(directory_.file("image"), options);
    ASSERT_TRUE(opened) << opened.error().message();
    file_ = std::move(*opened);
    calls = interrupted = shortened = 0;
    disturbing = true;
  }
  void TearDown() override { disturbing = false; }

  // The same request to the file and to memory.
  Result<void> one(Storage& storage, std::uint64_t kind, std::uint64_t offset, std::uint64_t length,
                   const std::vector<std::byte>& data) {
    const std::array parts{ConstBytes(data).first(length / 3), ConstBytes(data).subspan(length / 3, length / 3)};
    switch (kind) {
      case 0: return loop_->run(storage.write(offset, parts));
      case 1: return loop_->run(write_bytes(storage, offset, ConstBytes(data).first(length)));
      case 2: return loop_->run(storage.zero(offset, length, true));
      case 3: return loop_->run(storage.zero(offset, length, false));
      case 4: return loop_->run(storage.flush());
      case 5: return loop_->run(storage.allocate(offset, length));
      default: return loop_->run(storage.resize(offset));
    }
  }

  void compare() {
    ASSERT_EQ(file_->size_bytes(), memory_.size_bytes());
    std::vector<std::byte> content(file_->size_bytes());
    const Bytes target(content);
    const auto read = loop_->run(file_->read(0, target));
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(*read, content.size());
    EXPECT_EQ(content, memory_.content());
  }

  TemporaryDirectory directory_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Storage> file_;
  MemoryStorage memory_;
};

TEST_F(Interrupted, CallsAreMadeAgainAndNobodyHearsOfIt) {
  SimulatedRandom random(7);
  for (int i = 0; i < 300; ++i) {
    const std::uint64_t kind = random.below(7);
    const std::uint64_t offset = random.below(size_limit);
    const std::uint64_t length = 1 + random.below(40'000);
    const std::vector<std::byte> data(length, static_cast<std::byte>(random.below(256)));
    const auto in_memory = one(memory_, kind, offset, length, data);
    const auto in_file = one(*file_, kind, offset, length, data);
    ASSERT_TRUE(in_memory);
    ASSERT_TRUE(in_file) << i << ": " << in_file.error().message();
    if (i % 10 == 0) compare();
  }
  compare();
  EXPECT_GT(interrupted, 300u);
  EXPECT_GT(shortened, 50u);
}

}  // namespace
}  // namespace byre

#endif
