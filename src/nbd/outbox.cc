// While one batch is sent the next one gathers, so that batches grow with the load by themselves.

#include "nbd/outbox.h"

namespace byre::nbd {

void Outbox::push(const ReplyHeader& header, Buffer data, std::uint64_t held_bytes) {
  waiting_.push_back({header, {}, std::move(data), held_bytes});
  arrived_.wake_one();
}

void Outbox::push(std::vector<std::byte> whole, std::optional<std::uint64_t> held_bytes) {
  waiting_.push_back({{}, std::move(whole), {}, held_bytes});
  arrived_.wake_one();
}

void Outbox::finish() {
  finished_ = true;
  arrived_.wake_one();
}

Task<Result<void>> Outbox::run(std::function<void()> on_failure) {
  Result<void> outcome;
  std::vector<Reply> sending;
  for (;;) {
    while (waiting_.empty() && !finished_) co_await arrived_.wait();
    if (waiting_.empty()) co_return outcome;
    sending.swap(waiting_);
    if (outcome) {
      outcome = co_await send(sending);
      if (!outcome) on_failure();
    }
    for (Reply& reply : sending) {
      shelf_.give_back(std::move(reply.data));
      if (reply.held_bytes) in_flight_.release(*reply.held_bytes);
    }
    sending.clear();
  }
}

Task<Result<void>> Outbox::send(const std::vector<Reply>& replies) {
  std::vector<ConstBytes> parts;
  parts.reserve(2 * replies.size());
  for (const Reply& reply : replies) {
    parts.push_back(reply.whole.empty() ? reply.header.bytes() : ConstBytes(reply.whole));
    if (!reply.data.empty()) parts.push_back(reply.data.bytes());
  }
  co_return co_await stream_.send(parts);
}

}  // namespace byre::nbd
