// Replies on their way to the client: all that are ready go with one system call.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "nbd/buffer_shelf.h"
#include "nbd/in_flight.h"
#include "nbd/protocol.h"
#include "nbd/stream.h"

namespace byre::nbd {

class Outbox {
 public:
  // All must outlive it. What was sent goes to the shelf.
  Outbox(Stream& stream, InFlight& in_flight, BufferShelf& shelf)
      : stream_(stream), in_flight_(in_flight), shelf_(shelf) {}

  // When a reply has been sent, its request and `held_bytes` of data are no longer in flight; none: more chunks follow.
  void push(const ReplyHeader& header, Buffer data, std::uint64_t held_bytes);
  void push(std::vector<std::byte> whole, std::optional<std::uint64_t> held_bytes);

  // Sends until finish() was called and nothing is left. After a failure, which it returns at the end, it drops replies
  // instead; `on_failure` is told at once.
  Task<Result<void>> run(std::function<void()> on_failure);
  void finish();

 private:
  struct Reply {
    ReplyHeader header;
    std::vector<std::byte> whole;  // instead of the header and the data
    Buffer data;
    std::optional<std::uint64_t> held_bytes;
  };
  Task<Result<void>> send(const std::vector<Reply>& replies);

  Stream& stream_;
  InFlight& in_flight_;
  BufferShelf& shelf_;
  std::vector<Reply> waiting_;
  bool finished_ = false;
  WaitQueue arrived_;
};

}  // namespace byre::nbd
