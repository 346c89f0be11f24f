// An ordered map from begin to end. No two ranges touch, so that their number is the number of gaps.

#include "storage/range_set.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "byre/base/assert.h"

namespace byre {

void RangeSet::add(std::uint64_t begin_bytes, std::uint64_t end_bytes) {
  if (begin_bytes >= end_bytes) return;
  auto next = ends_.upper_bound(begin_bytes);
  if (next != ends_.begin() && std::prev(next)->second >= begin_bytes) {
    --next;
    begin_bytes = next->first;
  }
  while (next != ends_.end() && next->first <= end_bytes) {
    end_bytes = std::max(end_bytes, next->second);
    next = ends_.erase(next);
  }
  ends_.emplace_hint(next, begin_bytes, end_bytes);
}

void RangeSet::cut(std::uint64_t begin_bytes) {
  const auto first = ends_.lower_bound(begin_bytes);
  if (first != ends_.begin()) {
    std::uint64_t& end = std::prev(first)->second;
    end = std::min(end, begin_bytes);
  }
  ends_.erase(first, ends_.end());
}

RangeSet::Stretch RangeSet::at(std::uint64_t offset_bytes) const {
  const auto next = ends_.upper_bound(offset_bytes);
  if (next != ends_.begin() && std::prev(next)->second > offset_bytes) return {std::prev(next)->second, true};
  return {next == ends_.end() ? std::numeric_limits<std::uint64_t>::max() : next->first, false};
}

std::uint64_t RangeSet::middle_bytes() const {
  BYRE_ASSERT(!ends_.empty());
  return std::next(ends_.begin(), static_cast<std::ptrdiff_t>(ends_.size() / 2))->first;
}

}  // namespace byre
