// How much a connection has under way: requests that are served, and replies that are not sent yet.
#pragma once

#include <cstdint>

#include "byre/task/sync.h"

namespace byre::nbd {

class InFlight {
 public:
  InFlight(unsigned most_requests, std::uint64_t most_bytes) : most_requests_(most_requests), most_bytes_(most_bytes) {}

  // Waits until one more request with that much data may be under way, and counts it. One by itself always may.
  Task<void> admit(std::uint64_t bytes) {
    while (requests_ > 0 && (requests_ >= most_requests_ || bytes_ + bytes > most_bytes_)) co_await room_.wait();
    ++requests_;
    bytes_ += bytes;
  }
  void release(std::uint64_t bytes) {
    --requests_;
    bytes_ -= bytes;
    room_.wake_one();  // there is one reader
  }

 private:
  unsigned most_requests_;
  std::uint64_t most_bytes_;
  unsigned requests_ = 0;
  std::uint64_t bytes_ = 0;
  WaitQueue room_;
};

}  // namespace byre::nbd
