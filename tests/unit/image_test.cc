// Image, driven as a caller with a loop of its own does: nothing but poll(2) on the descriptor, and completions().

#include "byre/data/image.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <random>

#include "byre/ops/create.h"
#include "byre/storage/file.h"
#include "byre/storage/memory.h"
#include "byre/task/socket.h"
#include "support/bytes.h"
#include "support/temporary_directory.h"

namespace byre::test {
namespace {

constexpr std::uint64_t disk_bytes = 4 << 20;

bool readable(int fd, int timeout_milliseconds) {
  pollfd looked{fd, POLLIN, 0};
  int ready;
  do ready = ::poll(&looked, 1, timeout_milliseconds);
  while (ready < 0 && errno == EINTR);
  return ready == 1;
}

class Images : public testing::TestWithParam<IoMode> {
 protected:
  void SetUp() override {
    auto loop = make_event_loop(GetParam()).value();
    CreateOptions options;
    options.size_bytes = disk_bytes;
    ASSERT_TRUE(loop->run(create_image(path_, options, CacheMode::writeback)));
    OpenOptions open;
    open.format = "qcow2";
    open.writable = true;
    open.cache = CacheMode::none;  // so that reads complete later, by an interrupt
    auto image = Image::open(open_disk(path_, open), GetParam());
    if (!image) {  // a file system without direct I/O
      open.cache = CacheMode::writeback;
      image = Image::open(open_disk(path_, open), GetParam());
    }
    image_ = std::move(image).value();
  }

  // As a caller's loop: what is not readable within ten seconds never will be.
  std::vector<Image::Completion> polled() {
    image_->submit();
    std::vector<Image::Completion> all;
    while (all.empty()) {
      if (!readable(image_->descriptor(), 10'000)) {
        ADD_FAILURE() << "nothing to fetch, " << image_->under_way() << " under way";
        return all;
      }
      all = image_->completions();
    }
    return all;
  }

  std::map<std::uint64_t, Result<void>> polled_until_idle() {
    std::map<std::uint64_t, Result<void>> by_tag;
    while (image_->under_way() > 0) {
      const auto some = polled();
      if (some.empty()) break;
      for (const auto& [tag, result] : some) EXPECT_TRUE(by_tag.emplace(tag, result).second) << "twice: " << tag;
    }
    return by_tag;
  }

  TemporaryDirectory directory_;
  const std::string path_ = directory_.path() + "/disk.qcow2";
  std::unique_ptr<Image> image_;
};

TEST_P(Images, GiveEachRequestOneCompletionWithItsTag) {
  constexpr std::uint64_t count = 64;
  constexpr std::uint64_t step = disk_bytes / count;
  std::vector<std::vector<std::byte>> written(count), read(count, std::vector<std::byte>(step));
  for (std::uint64_t i = 0; i < count; ++i) {
    written[i].assign(step, static_cast<std::byte>(i + 1));
    image_->write(i * step, written[i], i);
  }
  EXPECT_EQ(image_->under_way(), count);
  auto done = polled_until_idle();
  EXPECT_EQ(done.size(), count);
  for (const auto& [tag, result] : done) EXPECT_TRUE(result) << tag;
  for (std::uint64_t i = 0; i < count; ++i) image_->read(i * step, read[i], 100 + i);
  done = polled_until_idle();
  EXPECT_EQ(done.size(), count);
  for (std::uint64_t i = 0; i < count; ++i) {
    EXPECT_TRUE(done.contains(100 + i));
    EXPECT_EQ(read[i], written[i]) << i;
  }
  image_->flush(7);
  EXPECT_TRUE(polled_until_idle().contains(7));
  EXPECT_TRUE(image_->close());
}

// What completes without any I/O (nothing is allocated yet) must make the descriptor readable too.
TEST_P(Images, TellOfWhatCompletesAtOnce) {
  std::vector<std::byte> target(512, std::byte{1});
  image_->read(0, target, 5);
  image_->submit();
  EXPECT_TRUE(readable(image_->descriptor(), 1000));
  const auto done = image_->completions();
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].tag, 5u);
  EXPECT_TRUE(is_all_zero(target));
  EXPECT_TRUE(image_->close());
}

// A descriptor that stays readable would have the caller's loop spin.
TEST_P(Images, AreQuietWhileNothingHappens) {
  std::vector<std::byte> bytes(65536, std::byte{3});
  image_->write(0, bytes, 1);
  EXPECT_EQ(polled_until_idle().size(), 1u);
  int wakes = 0;
  while (readable(image_->descriptor(), 50) && wakes < 10) {
    EXPECT_TRUE(image_->completions().empty());
    ++wakes;
  }
  EXPECT_LT(wakes, 4);
  EXPECT_TRUE(image_->close());
}

// What was posted before the descriptor was watched for the first time leaves nothing behind that keeps it readable.
TEST_P(Images, ALoopIsQuietAfterWhatWasPosted) {
  auto loop = make_event_loop(GetParam()).value();
  for (int round = 0; round < 3; ++round) {
    bool called = false;
    loop->post([&called] { called = true; });
    if (round > 0) {
      EXPECT_TRUE(readable(loop->descriptor(), 1000)) << round;
    }
    loop->advance();
    EXPECT_TRUE(called);
    int wakes = 0;
    for (; readable(loop->descriptor(), 50) && wakes < 10; ++wakes) loop->advance();
    EXPECT_LT(wakes, 3) << round;
  }
  EXPECT_TRUE(image_->close());
}

// A loop that goes on without end lets its caller in between, and does not forget to go on.
TEST_P(Images, ALoopThatIsNeverIdleComesBackToItsCaller) {
  auto loop = make_event_loop(GetParam()).value();
  int calls = 0;
  std::function<void()> again = [&] {
    if (++calls < 1000) loop->post(again);
  };
  loop->post(again);
  loop->advance();
  EXPECT_LT(calls, 1000);
  while (calls < 1000) {
    ASSERT_TRUE(readable(loop->descriptor(), 10'000)) << calls;
    loop->advance();
  }
  EXPECT_TRUE(image_->close());
}

TEST_P(Images, PassErrorsOn) {
  std::vector<std::byte> target(512);
  image_->read(disk_bytes, target, 1);
  image_->write_zeroes(0, 2 * disk_bytes, ZeroMode::unmap, 2);
  const auto done = polled_until_idle();
  EXPECT_FALSE(done.at(1));
  EXPECT_FALSE(done.at(2));
  EXPECT_TRUE(image_->close());
}

TEST_P(Images, WaitWhereTheCallerHasNothingElseToDo) {
  std::vector<std::byte> bytes(65536, std::byte{9});
  EXPECT_TRUE(image_->wait().empty());
  image_->write(65536, bytes, 1);
  const auto done = image_->wait();
  ASSERT_EQ(done.size(), 1u);
  EXPECT_TRUE(done[0].result);
  image_->write(0, bytes, 2);
  EXPECT_TRUE(image_->close()) << "waits for what is under way";
  EXPECT_EQ(image_->completions().size(), 1u);
}

// Two of them, with epoll over both, on one thread: neither takes the other's loop.
TEST_P(Images, LiveSideBySide) {
  OpenOptions raw;
  raw.format = "raw";
  raw.writable = true;
  auto other = Image::open(open_disk(std::make_unique<MemoryStorage>(disk_bytes), raw), GetParam()).value();
  const int set = ::epoll_create1(0);
  for (Image* image : {image_.get(), other.get()}) {
    epoll_event event{EPOLLIN, {.ptr = image}};
    ASSERT_EQ(::epoll_ctl(set, EPOLL_CTL_ADD, image->descriptor(), &event), 0);
  }
  std::mt19937_64 draw(1);
  std::vector<std::byte> bytes(4096, std::byte{1});
  std::uint64_t begun = 0, completed = 0;
  while (completed < 2000) {
    while (begun < 2000 && begun - completed < 16) {
      (draw() % 2 == 0 ? image_ : other)->write(draw() % (disk_bytes / 4096) * 4096, bytes, begun);
      ++begun;
    }
    image_->submit();
    other->submit();
    epoll_event ready[2];
    const int count = ::epoll_wait(set, ready, 2, 10'000);
    if (count < 0 && errno == EINTR) continue;  // so the kernel delivers completions of the ring
    ASSERT_GT(count, 0) << completed << " of " << begun;
    for (int i = 0; i < count; ++i) {
      for (const auto& [tag, result] : static_cast<Image*>(ready[i].data.ptr)->completions()) {
        EXPECT_TRUE(result) << tag;
        ++completed;
      }
    }
  }
  ::close(set);
  EXPECT_TRUE(image_->close());
  EXPECT_TRUE(other->close());
}

Task<Result<void>> receive_all(Socket& socket, Bytes target) {
  while (!target.empty()) {
    BYRE_CO_TRY(const std::size_t count, co_await socket.receive(target));
    target = target.subspan(count);
  }
  co_return Result<void>{};
}

Task<Result<void>> send_all(Socket& socket, ConstBytes bytes) {
  const ConstBytes parts[] = {bytes};
  co_return co_await socket.send(parts);
}

// Coroutines of the caller's may wait for the network on the same loop: here one sends and one receives on one socket.
TEST_P(Images, WaitForSocketsToo) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Socket near{Descriptor(ends[0])};
  const Descriptor far(ends[1]);
  std::vector<std::byte> sent(8 << 20, std::byte{1}), target(4), drained(1 << 20);
  image_->start(receive_all(near, target), 1);
  image_->start(send_all(near, sent), 2);
  image_->submit();
  EXPECT_TRUE(image_->completions().empty());
  std::size_t received = 0;
  for (int rounds = 0; image_->under_way() > 1 && rounds < 10'000; ++rounds) {
    const auto count = ::recv(far.get(), drained.data(), drained.size(), MSG_DONTWAIT);
    if (count > 0) received += static_cast<std::size_t>(count);
    ASSERT_TRUE(readable(image_->descriptor(), 10'000)) << received;  // there is room to send again
    for (const auto& [tag, result] : image_->completions()) EXPECT_TRUE(tag == 2 && result);
  }
  for (;;) {
    const auto count = ::recv(far.get(), drained.data(), drained.size(), MSG_DONTWAIT);
    if (count <= 0) break;
    received += static_cast<std::size_t>(count);
  }
  EXPECT_EQ(received, sent.size());
  ASSERT_EQ(::write(far.get(), "four", 4), 4);
  EXPECT_EQ(polled().at(0).tag, 1u);
  EXPECT_TRUE(image_->close());
}

INSTANTIATE_TEST_SUITE_P(Modes, Images, testing::Values(IoMode::uring, IoMode::threads),
                         [](const auto& mode) { return mode.param == IoMode::uring ? "uring" : "threads"; });

}  // namespace
}  // namespace byre::test
