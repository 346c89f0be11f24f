// Buffers that have been used, kept for the next request of the same length: the system would take long ones back, and
// each new one would cost a page fault for every page. One for the whole server: with one for each connection, clients
// that come and go would make the server hold ten times as much.
#pragma once

#include <algorithm>
#include <deque>
#include <iterator>

#include "byre/base/buffer.h"

namespace byre::nbd {

class BufferShelf {
 public:
  static constexpr std::size_t most_bytes = 8 << 20;
  static constexpr std::size_t most_buffers = 256;

  // With any content, perhaps another client's: nothing of it may be sent that was not written to before.
  Buffer take(std::size_t size_bytes) {
    const auto same_size = [size_bytes](const Buffer& buffer) { return buffer.size() == size_bytes; };
    const auto found = std::find_if(kept_.rbegin(), kept_.rend(), same_size);
    if (found == kept_.rend()) return Buffer(size_bytes);
    Buffer buffer = std::move(*found);
    kept_.erase(std::prev(found.base()));
    kept_bytes_ -= size_bytes;
    return buffer;
  }

  // Those that were not asked for again for longest make room.
  void give_back(Buffer buffer) {
    if (buffer.empty()) return;
    kept_bytes_ += buffer.size();
    kept_.push_back(std::move(buffer));
    while (kept_bytes_ > most_bytes || kept_.size() > most_buffers) {
      kept_bytes_ -= kept_.front().size();
      kept_.pop_front();
    }
  }

  std::size_t kept_bytes() const { return kept_bytes_; }

 private:
  std::deque<Buffer> kept_;
  std::size_t kept_bytes_ = 0;
};

}  // namespace byre::nbd
