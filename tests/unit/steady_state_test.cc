// The fast path: a read of allocated data whose mapping is cached asks the heap for nothing.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <new>

#include "byre/data/disk.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"
#include "support/fresh_image.h"
#include "support/temporary_directory.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define BYRE_SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BYRE_SANITIZED
#endif

#ifndef BYRE_SANITIZED

// g++ takes an inlined `free` for a mismatch with the `operator new` above it.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

namespace {
std::atomic<std::uint64_t> allocations = 0;
}  // namespace

void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace byre {
namespace {

constexpr std::uint64_t disk_bytes = 8 << 20;

class SteadyStateTest : public testing::TestWithParam<IoMode> {
 protected:
  SteadyStateTest() : loop_(std::move(*make_event_loop(GetParam()))) {}

  void expect_no_allocation(std::unique_ptr<Storage> storage) {
    OpenOptions options;
    options.format = "qcow2";
    options.writable = true;
    const std::uint64_t before_opening = allocations;
    auto disk = loop_->run(open_disk(std::move(storage), options, nullptr));
    EXPECT_GT(allocations, before_opening) << "the counter counts nothing";
    ASSERT_TRUE(disk) << disk.error().message();
    const std::vector<std::byte> data(disk_bytes, std::byte{0x5a});
    ASSERT_TRUE(loop_->run((*disk)->write(0, data)));
    ASSERT_TRUE(loop_->run((*disk)->flush()));
    (void)read_many(**disk);  // the free lists of coroutine frames fill
    EXPECT_EQ(read_many(**disk), 0u);
    ASSERT_TRUE(loop_->run((*disk)->close()));
  }

  // Allocations of 500 reads of 4 KiB each.
  std::uint64_t read_many(Disk& disk) {
    const std::uint64_t before = allocations;
    for (std::uint64_t i = 0; i < 500; ++i) {
      const auto done = loop_->run(disk.read(i * 7919 * 512 % (disk_bytes - sizeof buffer_), buffer_));
      EXPECT_TRUE(done);
    }
    return allocations - before;
  }

  std::unique_ptr<EventLoop> loop_;
  std::byte buffer_[4096];
};

std::vector<std::byte> fresh() {
  test::FreshImageOptions options;
  options.size_bytes = disk_bytes;
  return test::fresh_image(options);
}

TEST_P(SteadyStateTest, ReadsOfAllocatedDataInMemoryDoNotAllocate) {
  expect_no_allocation(std::make_unique<MemoryStorage>(ConstBytes(fresh())));
}

TEST_P(SteadyStateTest, ReadsOfAllocatedDataInAFileDoNotAllocate) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("image.qcow2");
  const auto image = fresh();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(image.data()), static_cast<std::streamsize>(image.size()));
  FileOptions options;
  options.writable = true;
  auto storage = open_file(path, options);
  ASSERT_TRUE(storage) << storage.error().message();
  expect_no_allocation(std::move(*storage));
}

INSTANTIATE_TEST_SUITE_P(Modes, SteadyStateTest, testing::Values(IoMode::automatic, IoMode::threads),
                         [](const auto& parameter) {
                           return parameter.param == IoMode::threads ? "threads" : "automatic";
                         });

}  // namespace
}  // namespace byre

#endif
