// For tests of the engine without files: a disk on a memory storage, which stays readable while the disk owns it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "byre/data/disk.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"

namespace byre::test {

class DiskOnMemory : public testing::Test {
 protected:
  DiskOnMemory() : loop_(std::move(*make_event_loop(IoMode::threads))) {}

  template <class T>
  T run(Task<T> task) {
    return loop_->run(std::move(task));
  }

  std::unique_ptr<Disk> open(const std::vector<std::byte>& image, bool writable = true,
                             std::unique_ptr<Disk> backing = nullptr) {
    auto storage = std::make_unique<MemoryStorage>(ConstBytes(image));
    storage_ = storage.get();
    OpenOptions options;
    options.writable = writable;
    options.format = "qcow2";
    auto disk = run(open_disk(std::move(storage), options, std::move(backing)));
    EXPECT_TRUE(disk.has_value()) << disk.error().message();
    return disk ? std::move(*disk) : nullptr;
  }

  std::unique_ptr<EventLoop> loop_;
  MemoryStorage* storage_ = nullptr;  // of the disk that was opened last
};

}  // namespace byre::test
