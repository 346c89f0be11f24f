// Makes what a long copy writes durable while it goes on, so that little is left when it ends, or is cancelled and has
// to close its image in good order: the disk writes meanwhile what it would have to write in the end.
#pragma once

#include <cstdint>

#include "byre/storage/storage.h"
#include "byre/task/sync.h"

namespace byre::ops {

class EarlyFlush {
 public:
  // For a copy that ends in a flush in any case. The storage must outlive it.
  explicit EarlyFlush(Storage& storage) : storage_(storage) {}

  // So much was written, or is about to be. Waits only for the flush before: what is not durable is little more than
  // two steps.
  Task<void> note(std::uint64_t written_bytes) {
    written_bytes_ += written_bytes;
    if (written_bytes_ < step_bytes) co_return;
    written_bytes_ = 0;
    co_await flushes_.wait_below(0);
    flushes_.start(storage_.flush());
  }
  bool failed() const { return flushes_.failed(); }
  // Comes last. Errors: that of a flush.
  Task<Result<void>> join() { return flushes_.join(); }

  static constexpr std::uint64_t step_bytes = 16 << 20;

 private:
  Storage& storage_;
  std::uint64_t written_bytes_ = 0;
  TaskGroup flushes_;
};

}  // namespace byre::ops
