// One buffer, taken from its front and filled at its end; what is left moves to the front when there is no room.

#include "nbd/inbox.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "byre/base/assert.h"

namespace byre::nbd {
namespace {

std::unexpected<Error> ended_early() { return fail(ErrorCode::io, "the connection ended in the middle of a message"); }

}  // namespace

Task<Result<bool>> Inbox::receive_more() {
  if (begin_ == end_) begin_ = end_ = 0;
  if (end_ == capacity_bytes) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, ready_bytes());
    end_ = ready_bytes();
    begin_ = 0;
  }
  BYRE_CO_TRY(const std::size_t got, co_await stream_->receive(buffer_.bytes().subspan(end_), Socket::Until::any));
  end_ += got;
  co_return got > 0;
}

Task<Result<ConstBytes>> Inbox::take(std::size_t count) {
  BYRE_ASSERT(count > 0 && count <= capacity_bytes);
  while (ready_bytes() < count) {
    BYRE_CO_TRY(const bool more, co_await receive_more());
    if (more) continue;
    if (ready_bytes() > 0) co_return ended_early();
    co_return ConstBytes{};
  }
  const ConstBytes taken = buffer_.bytes().subspan(begin_, count);
  begin_ += count;
  co_return taken;
}

Task<Result<void>> Inbox::fill(Bytes target) {
  const std::size_t ahead = std::min(ready_bytes(), target.size());
  std::memcpy(target.data(), buffer_.data() + begin_, ahead);
  begin_ += ahead;
  target = target.subspan(ahead);
  while (!target.empty()) {
    BYRE_CO_TRY(const std::size_t got, co_await stream_->receive(target, Socket::Until::full));
    if (got == 0) co_return ended_early();
    target = target.subspan(got);
  }
  co_return Result<void>{};
}

Task<Result<void>> Inbox::skip(std::uint64_t count) {
  while (count > 0) {
    if (ready_bytes() == 0) {
      BYRE_CO_TRY(const bool more, co_await receive_more());
      if (!more) co_return ended_early();
    }
    const std::uint64_t now = std::min<std::uint64_t>(ready_bytes(), count);
    begin_ += now;
    count -= now;
  }
  co_return Result<void>{};
}

Result<void> Inbox::change_stream(Stream& stream) {
  if (ready_bytes() != 0) {
    return fail(ErrorCode::corrupt, "{} bytes came before the change of the stream that must not", ready_bytes());
  }
  stream_ = &stream;
  return {};
}

}  // namespace byre::nbd
