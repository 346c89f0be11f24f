// A disk for programs that have an event loop of their own: poll(2), epoll, libuv, GLib, Boost.Asio, ...
//
// Requests are submitted with a tag. A descriptor becomes readable when there are completions to fetch, or something
// else to go on with; fetching never waits. No thread of the caller's is needed and no function is called back: all
// happens inside the calls below, which must come from one thread. examples/own_loop.cc shows it whole.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "byre/data/disk.h"
#include "byre/task/event_loop.h"
#include "byre/task/pollers.h"
#include "byre/task/sync.h"

namespace byre {

class Image {
 public:
  struct Completion {
    std::uint64_t tag;  // the caller's
    Result<void> result;
  };

  // Opens, and waits for it: `opening` is a call of open_disk(), over a file or any other storage, or whatever else
  // leads to a disk. Errors: those of `opening`, unsupported (io_uring was asked for and cannot be had).
  static Result<std::unique_ptr<Image>> open(Task<Result<std::unique_ptr<Disk>>> opening,
                                             IoMode mode = IoMode::automatic);
  // Waits for requests under way. Without close() a writable image is as after a crash (Disk::close()).
  ~Image();
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;

  // Begin a request (see Disk for what each does, its errors among them; it comes out as the tag's completion). They
  // may overlap in time; those under way at once have no order. Buffers belong to the caller and must live, and what is
  // read must not be looked at, until the completion was fetched.
  void read(std::uint64_t offset_bytes, Bytes target, std::uint64_t tag);
  void write(std::uint64_t offset_bytes, ConstBytes data, std::uint64_t tag);
  void write_zeroes(std::uint64_t offset_bytes, std::uint64_t length_bytes, ZeroMode mode, std::uint64_t tag);
  void discard(std::uint64_t offset_bytes, std::uint64_t length_bytes, std::uint64_t tag);
  void flush(std::uint64_t tag);
  // Any other coroutine over disk(), as a request.
  void start(Task<Result<void>> request, std::uint64_t tag);

  // Hands to the kernel what was begun since the last time, all at once. Call it before waiting on the descriptor.
  void submit();

  // Readable (POLLIN) when completions() should be called; the same for the image's life. A wait for it may end early
  // with EINTR, as for a signal: so the kernel hands over completions.
  int descriptor() const { return loop_->descriptor(); }

  // Goes on with what can go on and moves out what has completed, oldest first; submits, too. Never waits.
  std::vector<Completion> completions();
  // The same, but waits until there is at least one, or nothing is under way.
  std::vector<Completion> wait();

  // Begun and not yet fetched.
  std::size_t under_way() const { return running_ + completed_.size(); }

  // For what it says of itself (size_bytes(), ...). Its coroutines may be submitted; they belong on this image's loop.
  Disk& disk() { return *disk_; }

  // Waits for requests under way, flushes and closes (Disk::close()). Completions can still be fetched afterwards;
  // nothing else may follow.
  Result<void> close();

 private:
  Image(std::unique_ptr<EventLoop> loop, std::unique_ptr<Disk> disk);
  Task<void> run(Task<Result<void>> request, std::uint64_t tag);
  Task<void> until_one_completed();
  Task<void> until_all_completed();

  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Disk> disk_;
  std::size_t running_ = 0;
  std::vector<Completion> completed_;
  WaitQueue changed_;  // something completed
};

}  // namespace byre
