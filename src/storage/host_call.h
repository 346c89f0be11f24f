// One system call on a descriptor, made away from the loop's thread: by io_uring where the loop has a ring and the
// call an opcode, else in a worker thread.
#pragma once

#include <sys/uio.h>

#include <array>
#include <coroutine>
#include <cstdint>
#include <span>
#include <vector>

#include "byre/base/buffer.h"
#include "task/uring_poller.h"

namespace byre {

// The parts of a transfer that are still to be done.
class TransferVectors {
 public:
  explicit TransferVectors(Bytes target);
  explicit TransferVectors(std::span<const ConstBytes> parts);

  // What one call may take.
  iovec* data() { return &vectors()[first_]; }
  unsigned count() const;
  std::uint64_t left_bytes() const { return left_bytes_; }
  void advance(std::uint64_t done_bytes);

 private:
  static constexpr std::size_t inline_count = 8;
  iovec* vectors() { return many_.empty() ? few_.data() : many_.data(); }

  std::array<iovec, inline_count> few_{};
  std::vector<iovec> many_;  // only if there are more than fit in few_
  std::size_t first_ = 0;
  std::size_t end_ = 0;
  std::uint64_t left_bytes_ = 0;
};

// co_await on a named HostCall yields what the call returned: a count, or -errno; -EINTR and -EAGAIN mean that
// the caller should make another. It must stay where it is until then.
class HostCall {
 public:
  enum class Kind { read, write, sync_data, allocate, truncate, find_extent };

  static HostCall read(int fd, std::uint64_t offset_bytes, TransferVectors& to);
  static HostCall write(int fd, std::uint64_t offset_bytes, TransferVectors& from);
  static HostCall sync_data(int fd);
  static HostCall allocate(int fd, int mode, std::uint64_t offset_bytes, std::uint64_t length_bytes);  // fallocate(2)
  static HostCall truncate(int fd, std::uint64_t size_bytes);
  // Yields the offset of the end of the stretch at `offset_bytes`; found_data() tells its kind.
  static HostCall find_extent(int fd, std::uint64_t offset_bytes);

  bool found_data() const { return found_data_; }

  // Makes the call here and now instead, and returns the same.
  std::int64_t perform();

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter);
  std::int64_t await_resume() const noexcept { return uring_ ? request_.result : result_; }

 private:
  HostCall(Kind kind, int fd, std::uint64_t offset_bytes) : kind_(kind), fd_(fd), offset_bytes_(offset_bytes) {}
  bool start_on_ring(UringPoller& poller);
  std::int64_t perform_find_extent();

  Kind kind_;
  int fd_;
  int mode_ = 0;
  bool uring_ = false;
  bool found_data_ = true;
  std::uint64_t offset_bytes_;
  std::uint64_t length_bytes_ = 0;
  iovec* vectors_ = nullptr;
  unsigned vector_count_ = 0;
  std::int64_t result_ = 0;
  UringPoller::Request request_;
};

}  // namespace byre
