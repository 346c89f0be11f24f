// Reads, writes, syncs and fallocate have ring opcodes in every kernel that has a usable ring; truncating, looking for
// holes and cloning have not, and go to a thread.

#include "storage/host_call.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <limits>

namespace byre {

HostCall HostCall::read(int fd, std::uint64_t offset_bytes, TransferVectors& to) {
  HostCall call(Kind::read, fd, offset_bytes);
  call.vectors_ = to.data();
  call.vector_count_ = to.count();
  return call;
}

HostCall HostCall::write(int fd, std::uint64_t offset_bytes, TransferVectors& from) {
  HostCall call(Kind::write, fd, offset_bytes);
  call.vectors_ = from.data();
  call.vector_count_ = from.count();
  return call;
}

HostCall HostCall::sync_data(int fd) { return HostCall(Kind::sync_data, fd, 0); }

HostCall HostCall::allocate(int fd, int mode, std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  HostCall call(Kind::allocate, fd, offset_bytes);
  call.mode_ = mode;
  call.length_bytes_ = length_bytes;
  return call;
}

HostCall HostCall::truncate(int fd, std::uint64_t size_bytes) { return HostCall(Kind::truncate, fd, size_bytes); }

HostCall HostCall::find_extent(int fd, std::uint64_t offset_bytes) {
  return HostCall(Kind::find_extent, fd, offset_bytes);
}

HostCall HostCall::clone(int fd, std::uint64_t offset_bytes, int source_fd, std::uint64_t source_offset_bytes,
                         std::uint64_t length_bytes) {
  HostCall call(Kind::clone, fd, offset_bytes);
  call.source_fd_ = source_fd;
  call.source_offset_bytes_ = source_offset_bytes;
  call.length_bytes_ = length_bytes;
  return call;
}

void HostCall::await_suspend(std::coroutine_handle<> waiter) {
  Poller& poller = EventLoop::current().poller();
  request_.waiter = waiter;
  if (auto* ring = dynamic_cast<UringPoller*>(&poller)) uring_ = start_on_ring(*ring);
  if (!uring_) poller.offload_blocking([this] { result_ = perform(); }, waiter);
}

bool HostCall::start_on_ring(UringPoller& poller) {
  if (kind_ == Kind::truncate || kind_ == Kind::find_extent || kind_ == Kind::clone) return false;
  io_uring_sqe* entry = poller.next_entry();
  switch (kind_) {
    case Kind::read: io_uring_prep_readv(entry, fd_, vectors_, vector_count_, offset_bytes_); break;
    case Kind::write: io_uring_prep_writev(entry, fd_, vectors_, vector_count_, offset_bytes_); break;
    case Kind::allocate:
      io_uring_prep_rw(IORING_OP_FALLOCATE, entry, fd_, nullptr, static_cast<unsigned>(mode_), offset_bytes_);
      entry->addr = length_bytes_;
      break;
    default: io_uring_prep_fsync(entry, fd_, IORING_FSYNC_DATASYNC);
  }
  poller.start(entry, request_);
  return true;
}

std::int64_t HostCall::perform() {
  const auto offset = static_cast<off_t>(offset_bytes_);
  const auto status = [](std::int64_t returned) { return returned < 0 ? -std::int64_t{errno} : returned; };
  switch (kind_) {
    case Kind::read: return status(::preadv(fd_, vectors_, static_cast<int>(vector_count_), offset));
    case Kind::write: return status(::pwritev(fd_, vectors_, static_cast<int>(vector_count_), offset));
    case Kind::sync_data: return status(::fdatasync(fd_));
    case Kind::allocate: return status(::fallocate(fd_, mode_, offset, static_cast<off_t>(length_bytes_)));
    case Kind::truncate: return status(::ftruncate(fd_, offset));
    case Kind::find_extent: return perform_find_extent();
    case Kind::clone: return perform_clone();
  }
  return -EINVAL;
}

// The file may change between the two calls: an answer that makes no sense is turned into "data".
std::int64_t HostCall::perform_find_extent() {
  const auto offset = static_cast<off_t>(offset_bytes_);
  const off_t data = ::lseek(fd_, offset, SEEK_DATA);
  if (data < 0 && errno != ENXIO) return -errno;
  found_data_ = data == offset;
  if (data < 0) return std::numeric_limits<std::int64_t>::max();  // a hole up to the end
  if (data > offset) return data;
  const off_t hole = ::lseek(fd_, offset, SEEK_HOLE);
  return hole > offset ? hole : std::numeric_limits<std::int64_t>::max();
}

std::int64_t HostCall::perform_clone() const {
  file_clone_range range{};
  range.src_fd = source_fd_;
  range.src_offset = source_offset_bytes_;
  range.src_length = length_bytes_;
  range.dest_offset = offset_bytes_;
  return ::ioctl(fd_, FICLONERANGE, &range) == 0 ? 0 : -std::int64_t{errno};
}

}  // namespace byre
