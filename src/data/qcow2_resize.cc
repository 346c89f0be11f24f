// Resizing. Growing: a longer L1 table, then whatever would show through in the new area (the tail of the last cluster,
// a longer backing file, VM state) is zeroed, all of it durable before the size field says that it is disk (O-20).
// Shrinking: the size field first, then entries, then counts, then the file's length (O-21), so that each prefix is a
// valid image.

#include <algorithm>

#include "base/endian.h"
#include "data/qcow2_disk.h"
#include "data/range.h"
#include "data/raw_disk.h"
#include "format/limits.h"

namespace byre {

using meta::Clear;

Task<Result<void>> Qcow2Disk::resize(std::uint64_t size_bytes, Preallocation preallocation) {
  BYRE_CO_CHECK(check_change(*this, 0, 0));
  BYRE_CO_CHECK(check_running());
  BYRE_CO_CHECK(check_resize(size_bytes, geometry_.version));
  if (preallocation != Preallocation::off && size_bytes < size_bytes_) {
    co_return fail(ErrorCode::invalid_argument, "preallocation is for growing, not for shrinking");
  }
  if (size_bytes == size_bytes_) co_return Result<void>{};
  BYRE_CO_CHECK(co_await prepare_change());
  BYRE_CO_CHECK(co_await hold_dirty());
  auto done = co_await change_size(size_bytes, preallocation);
  co_await release_dirty();
  co_return done;
}

Task<Result<void>> Qcow2Disk::change_size(std::uint64_t size_bytes, Preallocation preallocation) {
  if (size_bytes > size_bytes_) co_return co_await grow(size_bytes, preallocation);
  co_return co_await shrink(size_bytes);
}

// As an image of `version`.
Result<void> Qcow2Disk::check_resize(std::uint64_t size_bytes, unsigned version) const {
  if (size_bytes % format::sector_bytes != 0) {
    return fail(ErrorCode::invalid_argument, "the new size {} is not a multiple of {}", size_bytes,
                format::sector_bytes);
  }
  if (geometry_.required_l1_entries(size_bytes) > format::max_l1_entries) {
    return fail(ErrorCode::invalid_argument, "the new size {} is too large for clusters of {} bytes: at most {}",
                size_bytes, geometry_.cluster_size_bytes(), format::max_l1_entries * geometry_.guest_bytes_per_l2());
  }
  if (version < 3 && header_.snapshot_count > 0) {
    return fail(ErrorCode::unsupported, "a version 2 image with internal snapshots cannot be resized");
  }
  return {};
}

Task<Result<void>> Qcow2Disk::grow(std::uint64_t size_bytes, Preallocation preallocation) {
  const std::uint64_t old_size = size_bytes_;
  const std::uint64_t entries = geometry_.required_l1_entries(size_bytes);
  BYRE_CO_CHECK(co_await decide([this, entries] { return metadata_->grow_l1(entries); }));
  size_bytes_ = size_bytes;
  Result<void> done = co_await zero_added(old_size);
  if (done && preallocation != Preallocation::off) done = co_await preallocate(old_size, preallocation);
  if (done) done = co_await settle();
  const bool complete = done.has_value();
  if (done) done = co_await store_size(size_bytes);
  if (!done) size_bytes_ = old_size;
  if (!complete) co_await take_back_growth(size_bytes);  // else the file may have the new size
  co_return done;
}

// Best effort: what stays is allocated behind the end of the disk, or a leak. The space that was taken for nothing goes
// first, for the rest may need some.
Task<void> Qcow2Disk::take_back_growth(std::uint64_t wanted_bytes) {
  if (stopped_) co_return;
  const auto end = co_await decide([this] { return metadata_->trim_end(); });
  co_await cut_file(end ? end->bytes : storage_->size_bytes());
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  const auto given =
      co_await forget_clusters(round_up(size_bytes_, cluster_size), round_up(wanted_bytes, cluster_size));
  if (given) [[maybe_unused]]
    const auto cut = co_await cut_behind_end();
}

Task<Result<void>> Qcow2Disk::zero_added(std::uint64_t old_size) {
  for (std::uint64_t at = old_size; at < size_bytes_;) {
    const std::uint64_t left = size_bytes_ - at;
    BYRE_CO_TRY(const BlockStatus status, co_await this->status(at, left));
    if (!status.zero) {
      const std::uint64_t length = status.length_bytes;
      BYRE_CO_CHECK(co_await write_zeroes(at, length, ZeroMode::unmap));
    }
    at += status.length_bytes;
  }
  co_return Result<void>{};
}

// Gives every whole cluster behind `old_size` its place. The last one of the disk counts as whole.
Task<Result<void>> Qcow2Disk::preallocate(std::uint64_t old_size, Preallocation preallocation) {
  GuestOffset at(round_up(old_size, geometry_.cluster_size_bytes()));
  while (at.bytes < size_bytes_) {
    BYRE_CO_CHECK(co_await prepare_change());
    const GuestOffset first = at;
    const std::uint64_t clusters =
        std::min(geometry_.clusters_for(size_bytes_ - at.bytes), metadata_->max_reserved_clusters());
    const meta::Lease lease = metadata_->lease();
    BYRE_CO_TRY(meta::Reservation reservation,
                co_await decide([this, first, clusters] { return metadata_->reserve(first, clusters); }));
    for (const meta::PlacedRun& run : reservation.runs()) {
      const std::uint64_t length = run.host.clusters << geometry_.cluster_bits;
      BYRE_CO_CHECK(co_await extend_with_zeros(*storage_, run.host.at.bytes, length, preallocation));
    }
    BYRE_CO_CHECK(check_running());
    std::move(reservation).commit();
    at += clusters << geometry_.cluster_bits;
  }
  co_return Result<void>{};
}

Task<Result<void>> Qcow2Disk::shrink(std::uint64_t size_bytes) {
  BYRE_CO_CHECK(co_await settle());
  BYRE_CO_CHECK(co_await store_size(size_bytes));
  size_bytes_ = size_bytes;
  BYRE_CO_CHECK(co_await give_up_behind_end());
  co_return co_await cut_behind_end();
}

// A refcount block that counts nothing else would keep the file long: its table entry is durably gone before the file
// ends in front of it.
Task<Result<void>> Qcow2Disk::cut_behind_end() {
  BYRE_CO_CHECK(co_await settle());
  const auto end = co_await decide([this] { return metadata_->trim_end_and_blocks(); });
  Result<void> done;
  if (!end) done = std::unexpected(end.error());
  if (done && metadata_->dirty()) done = co_await settle();
  co_await cut_file(done ? end->bytes : storage_->size_bytes());
  co_return done;
}

// Best effort: a device keeps its length, and the image is right without it. Nothing behind `end_bytes` is in use. What
// the file still holds does not read as zeros, whatever the allocator took for its end.
Task<void> Qcow2Disk::cut_file(std::uint64_t end_bytes) {
  extended_end_bytes_ = std::min(extended_end_bytes_, end_bytes);
  durable_end_bytes_ = std::min(durable_end_bytes_, end_bytes);
  if (end_bytes < storage_->size_bytes()) {
    [[maybe_unused]] const auto cut = co_await storage_->resize(end_bytes);
  }
  metadata_->note_file_end(storage_->size_bytes());
}

// What the L1 table holds behind the end of the disk, VM state included.
Task<Result<void>> Qcow2Disk::give_up_behind_end() {
  const GuestOffset first(round_up(size_bytes_, geometry_.cluster_size_bytes()));
  const GuestOffset table_end(round_up(first.bytes, geometry_.guest_bytes_per_l2()));
  if (geometry_.l1_index(first) < metadata_->l1_entries() && table_end > first) {
    BYRE_CO_CHECK(co_await clear_clusters(first, (table_end - first) >> geometry_.cluster_bits, Clear::forget));
  }
  co_return co_await release_tables(geometry_.l1_index(table_end), metadata_->l1_entries(), discard_);
}

Task<Result<void>> Qcow2Disk::release_tables(std::uint64_t first, std::uint64_t end, bool punch) {
  for (std::uint64_t index = first; index < end; ++index) {
    if (metadata_->l1()[index] == 0) continue;
    BYRE_CO_CHECK(co_await prepare_change());
    BYRE_CO_CHECK(co_await decide([this, index, punch] { return metadata_->release_table(index, punch); }));
    if (metadata_->damage()) BYRE_CO_CHECK(co_await mark_corrupt(*metadata_->damage()));
  }
  co_return Result<void>{};
}

Task<Result<void>> Qcow2Disk::forget(std::uint64_t begin_bytes, std::uint64_t end_bytes) {
  BYRE_CO_CHECK(check_change(*this, 0, 0));
  BYRE_CO_CHECK(check_running());
  const bool all = end_bytes >= size_bytes_;
  const std::uint64_t span = geometry_.guest_bytes_per_l2();
  const std::uint64_t end = all ? metadata_->l1_entries() * span : end_bytes;
  const std::uint64_t first_table = std::min(end, round_up(begin_bytes, span));
  const std::uint64_t last_table = std::max(first_table, round_down(end, span));
  BYRE_CO_CHECK(co_await forget_clusters(begin_bytes, first_table));
  // Without snapshots nothing stays, and the file is cut at the end: holes would be for nothing.
  const bool punch = discard_ && header_.snapshot_count > 0;
  BYRE_CO_CHECK(co_await release_tables(first_table / span, last_table / span, punch));
  BYRE_CO_CHECK(co_await forget_clusters(last_table, end));
  if (!all) co_return Result<void>{};
  co_return co_await cut_behind_end();
}

Task<Result<void>> Qcow2Disk::forget_clusters(std::uint64_t begin_bytes, std::uint64_t end_bytes) {
  if (begin_bytes >= end_bytes) co_return Result<void>{};
  BYRE_CO_CHECK(co_await prepare_change());
  const std::uint64_t clusters = (end_bytes - begin_bytes) >> geometry_.cluster_bits;
  co_return co_await clear_clusters(GuestOffset(begin_bytes), clusters, Clear::forget);
}

Task<Result<void>> Qcow2Disk::store_size(std::uint64_t size_bytes) {
  std::byte field[8];
  store_be64(field, size_bytes);
  BYRE_CO_CHECK(co_await write_bytes(*storage_, format::header_field::virtual_size, field));
  BYRE_CO_CHECK(co_await storage_->flush());
  header_.virtual_size_bytes = size_bytes;
  header_.l1_entries = static_cast<std::uint32_t>(metadata_->l1_entries());
  header_.l1_table = metadata_->l1_offset();
  co_return Result<void>{};
}

}  // namespace byre
