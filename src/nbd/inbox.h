// What arrives on a connection, read ahead: many short requests come with one system call, long data goes straight to
// where it belongs.
#pragma once

#include "byre/base/buffer.h"
#include "nbd/stream.h"

namespace byre::nbd {

class Inbox {
 public:
  static constexpr std::size_t capacity_bytes = 64 << 10;

  // The stream must outlive it.
  explicit Inbox(Stream& stream) : stream_(&stream), buffer_(capacity_bytes) {}

  // The next `count` bytes (1 to capacity_bytes), valid until the next call. Empty if the stream ends before the first
  // of them. Errors: io (it ends later, or fails).
  Task<Result<ConstBytes>> take(std::size_t count);
  // The next bytes, as many as `target` has.
  Task<Result<void>> fill(Bytes target);
  // Drops the next bytes.
  Task<Result<void>> skip(std::uint64_t count);

  // Goes on with another stream. What was read ahead from the former one must not be mistaken for its content.
  Result<void> change_stream(Stream& stream);

 private:
  std::size_t ready_bytes() const { return end_ - begin_; }
  Task<Result<bool>> receive_more();  // false at the end of the stream

  Stream* stream_;
  Buffer buffer_;
  std::size_t begin_ = 0;  // what was received and not yet taken lies in [begin_, end_)
  std::size_t end_ = 0;
};

}  // namespace byre::nbd
