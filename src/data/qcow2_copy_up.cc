// Copy-on-read: before a read, what it will find in the backing file is brought up. Clusters are locked as for a write
// that allocates and looked at once more under the lock, so that a write that came meanwhile is never overwritten with
// what was below it. Content does not change, so a read that runs beside it may see either place.

#include <algorithm>

#include "base/math.h"
#include "base/probe.h"
#include "data/qcow2_disk.h"

namespace byre {
namespace {
constexpr std::uint64_t most_copied_at_once_bytes = 1 << 20;
}  // namespace

// Goes over the unallocated parts of a range, as the mapping has them now.
Task<Result<void>> Qcow2Disk::copy_up(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  const std::uint64_t end = round_up(offset_bytes + length_bytes, cluster_size);
  for (GuestOffset at = geometry_.cluster_start(GuestOffset(offset_bytes)); at.bytes < end;) {
    const GuestOffset here = at;
    const std::uint64_t left = std::min(end, round_up(size_bytes_, cluster_size)) - at.bytes;
    BYRE_CO_TRY(const meta::MappedExtent extent,
                co_await decide([this, here, left] { return metadata_->lookup(here, left); }));
    std::uint64_t length = extent.length_bytes;
    if (extent.kind == format::ClusterKind::unallocated) {
      length = std::min(length, std::max(most_copied_at_once_bytes, cluster_size));
      BYRE_CO_CHECK(co_await copy_up_clusters(at, geometry_.clusters_for(length)));
    }
    at += round_up(length, cluster_size);
  }
  co_return Result<void>{};
}

// One cluster after the other: between two of them others get their turn.
Task<Result<void>> Qcow2Disk::copy_up_clusters(GuestOffset first, std::uint64_t clusters) {
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  Buffer content(cluster_size);
  for (std::uint64_t i = 0; i < clusters; ++i) {
    const GuestOffset at = first + i * cluster_size;
    BYRE_CO_CHECK(co_await prepare_change());
    const RangeLock::Guard guard = co_await range_lock_.lock(at.bytes, at.bytes + cluster_size);
    const meta::Lease lease = metadata_->lease();
    BYRE_CO_TRY(const meta::MappedExtent now,
                co_await decide([this, at, cluster_size] { return metadata_->lookup(at, cluster_size); }));
    if (now.kind != format::ClusterKind::unallocated) {
      BYRE_PROBE("data: what a read would have brought up has been written meanwhile");
      continue;
    }
    const Bytes whole = content.bytes();
    BYRE_CO_CHECK(co_await read_backing(at, whole));
    if (is_all_zero(whole)) continue;
    BYRE_CO_TRY(meta::Reservation reservation,
                co_await decide([this, at] { return metadata_->reserve_unallocated(at); }));
    storage_->announce(AccessEvent::cor_write);
    BYRE_CO_CHECK(co_await write_reserved(reservation, at, whole));
    BYRE_CO_CHECK(check_running());
    std::move(reservation).commit();
    BYRE_PROBE("data: a read brings a cluster up");
  }
  co_return Result<void>{};
}

}  // namespace byre
