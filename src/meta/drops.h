// References on their way out: unlinked in memory, their counts not yet lowered. A reference may be subtracted when its
// unlink is durable (O-2, O-3) and no older lease runs. Unlinks become durable in the order in which they were made,
// and their stamps rise, so the queue is taken from its front only.
#pragma once

#include <cstdint>
#include <deque>

#include "base/probe.h"
#include "byre/base/assert.h"
#include "meta/leases.h"

namespace byre::meta {

struct Drop {
  std::uint64_t cluster;
  std::uint64_t stamp;  // LeaseBook::stamp_unlink()
  bool punch;           // give the host space back when the last reference is gone
  bool table;           // cached pages of the cluster must be forgotten
};

class DropQueue {
 public:
  void add(const Drop& drop) { queue_.push_back(drop); }
  std::size_t size() const { return queue_.size(); }
  bool empty() const { return queue_.empty(); }

  // What is queued now is covered by a cut whose end will call make_durable(mark).
  std::uint64_t mark() const { return taken_ + queue_.size(); }
  void make_durable(std::uint64_t mark) {
    if (mark > durable_) durable_ = mark;
  }

  // The oldest reference, if it may be subtracted now.
  const Drop* next_quiet(const LeaseBook& leases) const {
    if (queue_.empty() || taken_ >= durable_) return nullptr;
    if (leases.quiet(queue_.front().stamp)) return &queue_.front();
    BYRE_PROBE("drops: a lease keeps a durable unlink from being given back");
    return nullptr;
  }
  void pop() {
    BYRE_ASSERT(taken_ < durable_);
    queue_.pop_front();
    ++taken_;
  }

 private:
  std::deque<Drop> queue_;
  std::uint64_t taken_ = 0;
  std::uint64_t durable_ = 0;
};

}  // namespace byre::meta
