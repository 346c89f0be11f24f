// Reading takes no lock: the lease keeps every host cluster that a lookup named as it was until the read has ended.
// Extents of one request are read one after the other; callers that want more in flight send more requests.

#include <algorithm>
#include <cstring>

#include "data/qcow2_disk.h"
#include "data/range.h"
#include "format/compression.h"

namespace byre {

using format::ClusterKind;

Task<Result<void>> Qcow2Disk::read(std::uint64_t offset_bytes, Bytes target) {
  BYRE_CO_CHECK(check_range(*this, offset_bytes, target.size()));
  if (copy_on_read_ && backing_) {
    [[maybe_unused]] const auto copied = co_await copy_up(offset_bytes, target.size());
  }
  co_return co_await read_as_it_is(offset_bytes, target);
}

Task<Result<void>> Qcow2Disk::read_as_it_is(std::uint64_t offset_bytes, Bytes target) {
  const meta::Lease lease = metadata_->lease();
  GuestOffset at(offset_bytes);
  while (!target.empty()) {
    auto extent = metadata_->lookup(at, target.size());
    if (!extent) [[unlikely]] {
      BYRE_CO_CHECK(co_await resolve(std::move(extent).error()));
      continue;
    }
    const Bytes part = target.first(extent->length_bytes);
    if (extent->kind == ClusterKind::normal) [[likely]] {
      BYRE_CO_CHECK(co_await read_host(extent->host, part));
    } else {
      BYRE_CO_CHECK(co_await read_extent(*extent, part));
    }
    at += extent->length_bytes;
    target = target.subspan(extent->length_bytes);
  }
  co_return Result<void>{};
}

Task<Result<void>> Qcow2Disk::read_vm_state(std::uint64_t offset_bytes, Bytes target) {
  storage_->announce(AccessEvent::vmstate_load);
  return read_as_it_is(geometry_.vm_state_start(size_bytes_).bytes + offset_bytes, target);
}

Task<Result<void>> Qcow2Disk::read_extent(meta::MappedExtent extent, Bytes target) {
  switch (extent.kind) {
    case ClusterKind::unallocated: return read_backing(extent.guest, target);
    case ClusterKind::compressed: return read_compressed(extent, target);
    case ClusterKind::normal: return read_host(extent.host, target);
    default: break;
  }
  return read_zeros(target);
}

Task<Result<void>> Qcow2Disk::read_zeros(Bytes target) {
  std::memset(target.data(), 0, target.size());
  co_return Result<void>{};
}

// What lies behind the end of the file, inside its last cluster, reads as zeros; meta/ has checked the bound.
Task<Result<void>> Qcow2Disk::read_host(HostOffset at, Bytes target) {
  storage_->announce(AccessEvent::read_aio);
  return read_zero_filled(*storage_, at.bytes, target);
}

Result<void> Qcow2Disk::check_backing_open(std::uint64_t offset_bytes) const {
  if (backing_ || header_.backing_name.empty() || backing_is_absent_) return {};
  return fail_in(storage_->name(), ErrorCode::refused, "guest offset {} is in the backing file, which was not opened",
                 offset_bytes);
}

// A backing file that is longer than the disk holds none of the VM state behind it.
Task<Result<void>> Qcow2Disk::read_backing(GuestOffset at, Bytes target) {
  if (at.bytes >= size_bytes_) co_return co_await read_zeros(target);
  BYRE_CO_CHECK(check_backing_open(at.bytes));
  const std::uint64_t backing_size = backing_ ? backing_->size_bytes() : 0;
  const std::uint64_t there =
      at.bytes >= backing_size ? 0 : std::min<std::uint64_t>(target.size(), backing_size - at.bytes);
  std::memset(target.data() + there, 0, target.size() - there);
  if (there == 0) co_return Result<void>{};
  const Bytes part = target.first(there);
  storage_->announce(AccessEvent::read_backing_aio);
  co_return co_await backing_->read(at.bytes, part);
}

Task<Result<void>> Qcow2Disk::read_compressed(meta::MappedExtent extent, Bytes target) {
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  Buffer payload(extent.compressed.length_bytes);
  // The payload may end, with the file, inside its last sector.
  storage_->announce(AccessEvent::read_compressed);
  BYRE_CO_TRY(const std::size_t got, co_await storage_->read(extent.compressed.offset.bytes, payload.bytes()));
  const bool whole = target.size() == cluster_size;
  Buffer scratch(whole ? 0 : cluster_size);
  const Bytes cluster = whole ? target : scratch.bytes();
  Result<void> decoded;
  const format::CompressionType type = header_.compression_type;
  const ConstBytes input = payload.bytes().first(got);
  co_await offload([&decoded, type, input, cluster] { decoded = format::decompress_cluster(type, input, cluster); });
  if (!decoded) {
    Error error = std::move(decoded).error().with_context(fmt::format("guest offset {:#x}", extent.guest.bytes));
    co_return std::unexpected(std::move(error).in_file(storage_->name()));
  }
  if (!whole) std::memcpy(target.data(), cluster.data() + extent.guest.bytes % cluster_size, target.size());
  co_return Result<void>{};
}

Task<Result<BlockStatus>> Qcow2Disk::layer_status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) {
  BYRE_CO_CHECK(check_range(*this, offset_bytes, 1));
  const meta::Lease lease = metadata_->lease();
  const std::uint64_t limit = std::min(max_length_bytes, size_bytes_ - offset_bytes);
  BYRE_CO_TRY(const meta::MappedExtent extent, co_await decide([this, offset_bytes, limit] {
                return metadata_->lookup(GuestOffset(offset_bytes), limit);
              }));
  BlockStatus status;
  status.length_bytes = extent.length_bytes;
  status.present = extent.kind != ClusterKind::unallocated;
  status.compressed = extent.kind == ClusterKind::compressed;
  status.zero = extent.kind == ClusterKind::zero_plain || extent.kind == ClusterKind::zero_allocated;
  status.data = status.compressed || extent.kind == ClusterKind::normal;
  if (extent.kind == ClusterKind::normal || extent.kind == ClusterKind::zero_allocated) {
    status.host_offset_bytes = extent.host.bytes;
  }
  if (extent.kind != ClusterKind::normal) co_return status;
  // Preallocated space whose host file is a hole reads as zeros too.
  if (extent.host.bytes >= storage_->size_bytes()) {
    status.zero = true;
    co_return status;
  }
  BYRE_CO_TRY(const StorageExtent stored, co_await storage_->extent_at(extent.host.bytes));
  status.zero = !stored.data;
  const std::uint64_t known_bytes = std::min(stored.length_bytes, limit);
  status.length_bytes = std::min(status.length_bytes, known_bytes);
  // A lookup ends with its page of the table; going on here saves asking the host about each page's clusters.
  while (status.length_bytes < known_bytes) {
    const GuestOffset at(offset_bytes + status.length_bytes);
    const std::uint64_t rest_bytes = known_bytes - status.length_bytes;
    const auto next = co_await decide([this, at, rest_bytes] { return metadata_->lookup(at, rest_bytes); });
    // An error is found again, and told, by whoever asks about that place.
    if (!next || next->kind != ClusterKind::normal || next->host != extent.host + status.length_bytes) break;
    status.length_bytes += next->length_bytes;
  }
  co_return status;
}

// A lower layer that is shorter than the range ends the stretch at its end; behind it, nothing is present.
Task<Result<BlockStatus>> Qcow2Disk::status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) {
  BYRE_CO_TRY(BlockStatus status, co_await layer_status(offset_bytes, max_length_bytes));
  if (status.present) co_return status;
  BYRE_CO_CHECK(check_backing_open(offset_bytes));
  if (!backing_ || offset_bytes >= backing_->size_bytes()) {
    status.zero = true;
    co_return status;
  }
  const std::uint64_t limit = std::min(status.length_bytes, backing_->size_bytes() - offset_bytes);
  BYRE_CO_TRY(BlockStatus below, co_await backing_->status(offset_bytes, limit));
  ++below.depth;
  co_return below;
}

}  // namespace byre
