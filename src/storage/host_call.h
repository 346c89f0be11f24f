// One system call on a descriptor, made away from the loop's thread: by io_uring where the loop has a ring and the
// call an opcode, else in a worker thread.
#pragma once

#include <sys/uio.h>

#include <coroutine>
#include <cstdint>

#include "task/transfer_vectors.h"
#include "task/uring_poller.h"

namespace byre {

// co_await on a named HostCall yields what the call returned: a count, or -errno; -EINTR and -EAGAIN mean that
// the caller should make another. It must stay where it is until then.
class HostCall {
 public:
  enum class Kind { read, write, sync_data, allocate, truncate, find_extent, clone };

  static HostCall read(int fd, std::uint64_t offset_bytes, TransferVectors& to);
  static HostCall write(int fd, std::uint64_t offset_bytes, TransferVectors& from);
  static HostCall sync_data(int fd);
  static HostCall allocate(int fd, int mode, std::uint64_t offset_bytes, std::uint64_t length_bytes);  // fallocate(2)
  static HostCall truncate(int fd, std::uint64_t size_bytes);
  // Yields the offset of the end of the stretch at `offset_bytes`; found_data() tells its kind.
  static HostCall find_extent(int fd, std::uint64_t offset_bytes);
  // Shares the blocks of a range of another file (FICLONERANGE).
  static HostCall clone(int fd, std::uint64_t offset_bytes, int source_fd, std::uint64_t source_offset_bytes,
                        std::uint64_t length_bytes);

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
  std::int64_t perform_clone() const;

  Kind kind_;
  int fd_;
  int mode_ = 0;
  int source_fd_ = -1;
  bool uring_ = false;
  bool found_data_ = true;
  std::uint64_t offset_bytes_;
  std::uint64_t source_offset_bytes_ = 0;
  std::uint64_t length_bytes_ = 0;
  iovec* vectors_ = nullptr;
  unsigned vector_count_ = 0;
  std::int64_t result_ = 0;
  UringPoller::Request request_;
};

}  // namespace byre
