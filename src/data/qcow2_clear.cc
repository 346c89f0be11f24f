// Zeroing and discarding act on whole clusters through their entries; a part of a cluster is written as data, unless
// the rest of its cluster reads as zeros already. The cluster at the end of the disk counts as whole even if the disk
// ends inside it. Version 2 with a backing file has no zero flag: zeros are written as data, a discard does nothing.

#include <algorithm>

#include "data/qcow2_disk.h"
#include "data/range.h"

namespace byre {
namespace {
constexpr std::uint64_t zero_request_bytes = 1 << 20;
}

using meta::Clear;

Task<Result<void>> Qcow2Disk::write_zeroes(std::uint64_t offset_bytes, std::uint64_t length_bytes, ZeroMode mode) {
  BYRE_CO_CHECK(check_change(*this, offset_bytes, length_bytes));
  if (length_bytes == 0) co_return Result<void>{};
  BYRE_CO_CHECK(co_await prepare_change());
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  const Clear clear = mode == ZeroMode::unmap && discard_ ? Clear::zero_unmap : Clear::zero_keep;
  const std::uint64_t end = offset_bytes + length_bytes;
  const std::uint64_t whole_begin = std::min(round_up(offset_bytes, cluster_size), end);
  const std::uint64_t whole_end = end == size_bytes_ ? end : std::max(round_down(end, cluster_size), whole_begin);
  if (whole_begin > offset_bytes) {
    BYRE_CO_CHECK(co_await zero_part(GuestOffset(offset_bytes), whole_begin - offset_bytes, clear));
  }
  if (whole_end > whole_begin) {
    const GuestOffset first(whole_begin);
    const std::uint64_t clusters = geometry_.clusters_for(whole_end - whole_begin);
    if (metadata_->can_clear()) {
      BYRE_CO_CHECK(co_await clear_clusters(first, clusters, clear));
    } else {
      BYRE_CO_CHECK(co_await write_zero_data(first, whole_end - whole_begin));
    }
  }
  if (end > whole_end) {
    BYRE_CO_CHECK(co_await zero_part(GuestOffset(whole_end), end - whole_end, clear));
  }
  co_return Result<void>{};
}

Task<Result<void>> Qcow2Disk::discard(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  BYRE_CO_CHECK(check_change(*this, offset_bytes, length_bytes));
  if (!discard_ || !metadata_->can_clear()) co_return Result<void>{};
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  const std::uint64_t end = offset_bytes + length_bytes;
  const std::uint64_t whole_begin = round_up(offset_bytes, cluster_size);
  const std::uint64_t whole_end = end == size_bytes_ ? end : round_down(end, cluster_size);
  if (whole_end <= whole_begin) co_return Result<void>{};
  BYRE_CO_CHECK(co_await prepare_change());
  co_return co_await clear_clusters(GuestOffset(whole_begin), geometry_.clusters_for(whole_end - whole_begin),
                                    Clear::discard);
}

Task<Result<void>> Qcow2Disk::clear_clusters(GuestOffset first, std::uint64_t clusters, Clear mode) {
  while (clusters > 0) {
    if (metadata_->wants_write_back()) BYRE_CO_CHECK(co_await flush());
    // Locked step by step: a huge range must not hold up every other request.
    const std::uint64_t step = std::min<std::uint64_t>(clusters, metadata_->max_reserved_clusters());
    std::uint64_t done = 0;
    {
      const RangeLock::Guard guard =
          co_await range_lock_.lock(first.bytes, first.bytes + (step << geometry_.cluster_bits));
      const meta::Lease lease = metadata_->lease();
      BYRE_CO_CHECK(check_running());
      const std::uint64_t count = clusters;
      BYRE_CO_TRY(done, co_await decide([this, first, step, count, mode] {
                    const bool punch = mode != Clear::zero_keep && pass_discard_request_;
                    return metadata_->clear(first, std::min(step, count), mode, punch);
                  }));
    }
    if (metadata_->damage()) BYRE_CO_CHECK(co_await mark_corrupt(*metadata_->damage()));
    first += done << geometry_.cluster_bits;
    clusters -= done;
  }
  co_return Result<void>{};
}

// A part of one cluster.
Task<Result<void>> Qcow2Disk::zero_part(GuestOffset at, std::uint64_t length_bytes, Clear mode) {
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  const GuestOffset first = geometry_.cluster_start(at);
  if (metadata_->can_clear()) {
    const RangeLock::Guard guard = co_await range_lock_.lock(first.bytes, first.bytes + cluster_size);
    BYRE_CO_CHECK(check_running());
    const std::uint64_t length = std::min(cluster_size, size_bytes_ - first.bytes);
    const std::uint64_t offset = first.bytes;
    BYRE_CO_TRY(const BlockStatus layer, co_await layer_status(offset, length));
    BYRE_CO_TRY(const BlockStatus all, co_await status(offset, length));
    // Stored data is never judged by its content: another request may be writing it in place.
    if (!layer.data && all.zero && all.length_bytes == length) {
      const meta::Lease lease = metadata_->lease();
      BYRE_CO_CHECK(co_await decide([this, first, mode] { return metadata_->clear(first, 1, mode, false); }));
      co_return Result<void>{};
    }
  }
  co_return co_await write_zero_data(at, length_bytes);
}

Task<Result<void>> Qcow2Disk::write_zero_data(GuestOffset at, std::uint64_t length_bytes) {
  const Buffer zeros(std::min(length_bytes, zero_request_bytes), Buffer::Fill::zero);
  for (std::uint64_t done = 0; done < length_bytes;) {
    const std::uint64_t step = std::min<std::uint64_t>(length_bytes - done, zeros.size());
    const ConstBytes part = zeros.bytes().first(step);
    BYRE_CO_CHECK(co_await write(at.bytes + done, part));
    done += step;
  }
  co_return Result<void>{};
}

}  // namespace byre
