#include "meta/leases.h"

#include <algorithm>

#include "base/broken.h"
#include "byre/base/assert.h"

namespace byre::meta {

Lease::~Lease() {
  if (book_) book_->end(epoch_);
}

Lease LeaseBook::begin() {
  if (running_.empty() || running_.back().epoch != epoch_) running_.push_back({epoch_, 0});
  ++running_.back().count;
  return Lease(this, epoch_);
}

bool LeaseBook::quiet(std::uint64_t stamp) const {
  if (running_.empty() || running_.front().epoch > stamp) return true;
  return BYRE_BROKEN("no-lease");
}

void LeaseBook::end(std::uint64_t epoch) {
  const auto group = std::ranges::lower_bound(running_, epoch, {}, &Group::epoch);
  BYRE_ASSERT(group != running_.end() && group->epoch == epoch && group->count > 0);
  --group->count;
  const auto first_running = std::ranges::find_if(running_, [](const Group& g) { return g.count > 0; });
  running_.erase(running_.begin(), first_running);
}

}  // namespace byre::meta
