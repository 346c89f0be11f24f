#include "meta/cluster_life.h"

#include <algorithm>

#include "byre/base/assert.h"

namespace byre::meta {

ClusterState ClusterLife::state(std::uint64_t cluster, std::uint64_t refcount) const {
  const auto found = tracked_.find(cluster);
  if (found != tracked_.end()) return found->second.state;
  return refcount == 0 ? ClusterState::free : ClusterState::live;
}

ClusterLife::Tracked& ClusterLife::expect(std::uint64_t cluster, ClusterState state) {
  const auto found = tracked_.find(cluster);
  BYRE_ASSERT(found != tracked_.end() && found->second.state == state);
  return found->second;
}

void ClusterLife::reserve(std::uint64_t cluster, std::uint64_t refcount) {
  BYRE_ASSERT(cluster != 0 && refcount == 0);
  const bool is_new = tracked_.try_emplace(cluster, Tracked{ClusterState::reserved, 0}).second;
  BYRE_ASSERT(is_new);
}

void ClusterLife::commit(std::uint64_t cluster) {
  expect(cluster, ClusterState::reserved);
  tracked_.erase(cluster);
}

void ClusterLife::abort(std::uint64_t cluster) {
  expect(cluster, ClusterState::reserved);
  tracked_.erase(cluster);
}

bool ClusterLife::unlink(std::uint64_t cluster) {
  Tracked& tracked = tracked_.try_emplace(cluster, Tracked{ClusterState::unlinked, 0}).first->second;
  if (tracked.state != ClusterState::unlinked) return false;
  ++tracked.going;
  return true;
}

std::uint64_t ClusterLife::going(std::uint64_t cluster) const {
  const auto found = tracked_.find(cluster);
  return found == tracked_.end() ? 0 : found->second.going;
}

std::uint64_t ClusterLife::end() const {
  std::uint64_t end = 0;
  for (const auto& [cluster, tracked] : tracked_) end = std::max(end, cluster + 1);
  return end;
}

void ClusterLife::quiet(std::uint64_t cluster) {
  Tracked& tracked = expect(cluster, ClusterState::unlinked);
  BYRE_ASSERT(tracked.going == 1);
  tracked.state = ClusterState::quiet;
}

void ClusterLife::punch(std::uint64_t cluster) { expect(cluster, ClusterState::quiet).state = ClusterState::punching; }

void ClusterLife::unpunch(std::uint64_t cluster) {
  expect(cluster, ClusterState::punching).state = ClusterState::quiet;
}

void ClusterLife::release(std::uint64_t cluster) {
  expect(cluster, ClusterState::quiet);
  tracked_.erase(cluster);
}

void ClusterLife::drop_one(std::uint64_t cluster) {
  Tracked& tracked = expect(cluster, ClusterState::unlinked);
  if (--tracked.going == 0) tracked_.erase(cluster);
}

}  // namespace byre::meta
