// A payload that does not fit into the rest of the open cluster runs on into the cluster behind it if that one is free,
// otherwise a new cluster is opened and the rest is given up. A cluster whose count is at its maximum takes no more.
// Clusters used here are Live from the start: extents share them, and each extent is one counted reference.

#include "meta/packer.h"

#include "base/probe.h"

namespace byre::meta {

Outcome<HostOffset> Packer::place(std::uint64_t payload_bytes) {
  if (next_) {
    const HostOffset at = *next_;
    BYRE_TRY(const bool placed, append(payload_bytes));
    if (placed) return at;
    next_.reset();
  }
  BYRE_TRY(const HostRun run, allocator_.reserve(1));
  allocator_.commit(run);
  next_ = run.at + payload_bytes;
  return run.at;
}

Outcome<bool> Packer::append(std::uint64_t payload_bytes) {
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  const std::uint64_t cluster = next_->bytes / cluster_size;
  const std::uint64_t room = cluster_size - next_->bytes % cluster_size;
  BYRE_TRY(Page * page, refcounts_.page_of(cluster, allocator_.host_end()));
  const std::uint64_t count = page ? refcounts_.load(*page, cluster) : 0;
  if (count == refcounts_.maximum()) BYRE_PROBE("packer: the open cluster's count is at its maximum");
  if (count == 0 || count == refcounts_.maximum()) return false;
  if (payload_bytes > room) {
    const HostOffset behind((cluster + 1) * cluster_size);
    BYRE_TRY(const bool taken, allocator_.reserve_next(behind));
    if (!taken) return false;
    BYRE_PROBE("packer: a payload runs on into the next cluster");
    allocator_.commit({behind, 1, false});
  }
  refcounts_.store(*page, cluster, count + 1);
  *next_ += payload_bytes;
  if (payload_bytes == room) next_.reset();
  return true;
}

void Packer::forget(std::uint64_t cluster) {
  if (!next_ || next_->bytes / geometry_.cluster_size_bytes() != cluster) return;
  BYRE_PROBE("packer: the open cluster becomes free");
  next_.reset();
}

}  // namespace byre::meta
