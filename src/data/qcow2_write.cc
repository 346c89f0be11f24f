// Writing. In place where the mapping allows it, without a lock. Otherwise the clusters are locked, reserved, written
// whole (the data and what surrounds it in the first and the last cluster, in one request for each stretch of
// consecutive host clusters), and linked. What is overwritten whole is never read, neither here nor in a backing disk.
//
// A cluster in motion is held by the range lock, so nothing about it changes between the reservation and its commit.
// Writers in place need no lock: they write to clusters that only they and other writers in place refer to.

#include <algorithm>
#include <cerrno>

#include "base/broken.h"
#include "data/payload.h"
#include "data/qcow2_disk.h"
#include "data/range.h"
#include "format/limits.h"

namespace byre {
namespace {

constexpr std::uint64_t largest_allocation_bytes = 4 << 20;
constexpr std::size_t zero_block_bytes = 64 << 10;

ConstBytes zero_block() {
  static const Buffer zeros(zero_block_bytes, Buffer::Fill::zero);
  return zeros.bytes();
}

}  // namespace

// Guest clusters whose host clusters follow one another.
struct Qcow2Disk::Stretch {
  GuestOffset guest;
  HostOffset host;
  std::uint64_t length_bytes;
  bool fresh;  // the host bytes read as zeros already
};

// What a part of a cluster that the guest did not write must hold: bytes, zeros, or what is there already.
struct Qcow2Disk::Filling {
  Buffer bytes;
  std::uint64_t zeros = 0;
  std::uint64_t length() const { return bytes.size() + zeros; }
  void append_to(std::vector<ConstBytes>& parts) const {
    if (!bytes.empty()) parts.push_back(bytes.bytes());
    for (std::uint64_t done = 0; done < zeros; done += zero_block_bytes) {
      parts.push_back(zero_block().first(std::min<std::uint64_t>(zeros - done, zero_block_bytes)));
    }
  }
};

Result<void> Qcow2Disk::check_running() const {
  if (!stopped_) [[likely]]
    return {};
  Error error = *stopped_;
  return std::unexpected(std::move(error).with_context("the image was found damaged and is no longer written"));
}

Task<Result<void>> Qcow2Disk::write(std::uint64_t offset_bytes, ConstBytes data) {
  BYRE_CO_CHECK(check_change(*this, offset_bytes, data.size()));
  BYRE_CO_CHECK(check_running());
  if (data.empty()) co_return Result<void>{};
  if (detect_zeroes_ != DetectZeroes::off && is_all_zero(data)) {
    const ZeroMode mode = detect_zeroes_ == DetectZeroes::unmap ? ZeroMode::unmap : ZeroMode::keep;
    co_return co_await write_zeroes(offset_bytes, data.size(), mode);
  }
  co_return co_await write_as_it_is(offset_bytes, data);
}

// Wherever the L1 table reaches, also behind the disk.
Task<Result<void>> Qcow2Disk::write_as_it_is(std::uint64_t offset_bytes, ConstBytes data) {
  if (marks_due(false) || metadata_->wants_write_back()) BYRE_CO_CHECK(co_await prepare_change(Touches::data));
  GuestOffset at(offset_bytes);
  while (!data.empty()) {
    std::uint64_t written = 0;
    {
      const meta::Lease lease = metadata_->lease();
      const std::uint64_t length = data.size();
      auto target = metadata_->write_target(at, length);
      if (!target) [[unlikely]] {  // it takes two pages: decide() holds the first if the second drives it out
        BYRE_CO_TRY(target, co_await decide([this, at, length] { return metadata_->write_target(at, length); }));
      }
      if (target->in_place) {
        written = target->length_bytes;
        storage_->announce(AccessEvent::write_aio);
        BYRE_CO_CHECK(co_await write_bytes(*storage_, target->host.bytes, data.first(written)));
      }
    }
    if (written == 0) {
      BYRE_CO_TRY(written, co_await write_allocating(at, data));
    }
    at += written;
    data = data.subspan(written);
  }
  co_return Result<void>{};
}

Task<Result<void>> Qcow2Disk::write_vm_state(std::uint64_t offset_bytes, ConstBytes data) {
  BYRE_CO_CHECK(check_change(*this, 0, 0));
  BYRE_CO_CHECK(check_running());
  if (data.empty()) co_return Result<void>{};
  const std::uint64_t begin = geometry_.vm_state_start(size_bytes_).bytes;
  const std::uint64_t most = format::max_l1_entries * geometry_.guest_bytes_per_l2() - begin;
  if (!fits_within(offset_bytes, data.size(), most)) {
    const std::string what =
        fmt::format("VM state of {} bytes at {} is too long: at most {} bytes", data.size(), offset_bytes, most);
    co_return std::unexpected(Error(ErrorCode::invalid_argument, what, EFBIG));
  }
  const std::uint64_t needed = geometry_.required_l1_entries(begin + offset_bytes + data.size());
  const std::uint64_t now = metadata_->l1_entries();
  if (needed > now) {  // by half, so that a state that comes in pieces moves the table seldom
    const std::uint64_t entries = std::min(std::max(needed, now + now / 2), format::max_l1_entries);
    BYRE_CO_CHECK(co_await prepare_change());
    BYRE_CO_CHECK(co_await decide([this, entries] { return metadata_->grow_l1(entries); }));
  }
  storage_->announce(AccessEvent::vmstate_save);
  co_return co_await write_as_it_is(begin + offset_bytes, data);
}

// Writes the first part of `data` that needs new clusters; returns its length, 0 if another request has allocated
// them meanwhile and the write can be done in place.
Task<Result<std::uint64_t>> Qcow2Disk::write_allocating(GuestOffset at, ConstBytes data) {
  BYRE_CO_CHECK(co_await prepare_change());
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  const GuestOffset first = geometry_.cluster_start(at);
  const std::uint64_t limit = std::min(largest_allocation_bytes, metadata_->max_reserved_clusters() * cluster_size);
  const std::uint64_t most = std::min<std::uint64_t>(data.size(), std::max(limit, cluster_size) - (at - first));
  const RangeLock::Guard guard = co_await range_lock_.lock(first.bytes, round_up(at.bytes + most, cluster_size));
  const meta::Lease lease = metadata_->lease();
  BYRE_CO_TRY(const std::uint64_t length, co_await length_to_allocate(at, most));
  if (length == 0) {
    BYRE_PROBE("data: another request has allocated the clusters meanwhile");
    co_return length;
  }
  const std::uint64_t clusters = geometry_.clusters_for(at + length - first);
  BYRE_CO_TRY(meta::Reservation reservation,
              co_await decide([this, first, clusters] { return metadata_->reserve(first, clusters); }));
  if (BYRE_BROKEN("link-before-write")) std::move(reservation).commit();
  // NOLINTNEXTLINE(bugprone-use-after-move): moved from only where the rule is broken on purpose
  BYRE_CO_CHECK(co_await write_reserved(reservation, at, data.first(length)));
  BYRE_CO_CHECK(check_running());
  if (!BYRE_BROKEN("link-before-write")) std::move(reservation).commit();
  if (metadata_->damage()) BYRE_CO_CHECK(co_await mark_corrupt(*metadata_->damage()));
  co_return length;
}

Task<Result<std::uint64_t>> Qcow2Disk::length_to_allocate(GuestOffset at, std::uint64_t max_length_bytes) {
  std::uint64_t length = 0;
  while (length < max_length_bytes) {
    const GuestOffset here = at + length;
    const std::uint64_t left = max_length_bytes - length;
    BYRE_CO_TRY(const meta::WriteTarget target,
                co_await decide([this, here, left] { return metadata_->write_target(here, left); }));
    if (target.in_place) break;
    length += target.length_bytes;
  }
  co_return length;
}

Task<Result<void>> Qcow2Disk::write_reserved(const meta::Reservation& reservation, GuestOffset at, ConstBytes data) {
  std::vector<Stretch> stretches;
  for (const meta::PlacedRun& run : reservation.runs()) {
    const std::uint64_t length = run.host.clusters << geometry_.cluster_bits;
    Stretch* last = stretches.empty() ? nullptr : &stretches.back();
    if (last && last->host + last->length_bytes == run.host.at && last->fresh == run.host.fresh) {
      last->length_bytes += length;
    } else {
      stretches.push_back({run.guest, run.host.at, length, run.host.fresh});
    }
  }
  storage_->announce(AccessEvent::cluster_alloc);
  for (const Stretch& stretch : stretches) BYRE_CO_CHECK(co_await write_stretch(stretch, at, data));
  co_return Result<void>{};
}

Task<Result<void>> Qcow2Disk::write_stretch(Stretch stretch, GuestOffset at, ConstBytes data) {
  const GuestOffset stretch_end = stretch.guest + stretch.length_bytes;
  const GuestOffset from = std::max(at, stretch.guest);
  const GuestOffset to = std::min(at + data.size(), stretch_end);
  BYRE_CO_TRY(const Filling head, co_await filling(stretch.guest, from, stretch.fresh));
  BYRE_CO_TRY(const Filling tail, co_await filling(to, stretch_end, stretch.fresh));
  std::vector<ConstBytes> parts;
  head.append_to(parts);
  parts.push_back(data.subspan(from - at, to - from));
  tail.append_to(parts);
  const std::uint64_t write_at = stretch.host.bytes + (from - stretch.guest) - head.length();
  const std::span<const ConstBytes> all = parts;
  storage_->announce(AccessEvent::write_aio);
  co_return co_await storage_->write(write_at, all);
}

// `from` to `to` lies within one cluster. Nothing needs to be written where a fresh host cluster meets zeros.
Task<Result<Qcow2Disk::Filling>> Qcow2Disk::filling(GuestOffset from, GuestOffset to, bool fresh) {
  Filling result;
  if (from == to) co_return result;
  const std::uint64_t length = to - from;
  const std::uint64_t offset = from.bytes;
  const bool vm_state = from >= geometry_.vm_state_start(size_bytes_);
  const std::uint64_t on_disk = offset >= size_bytes_ ? 0 : std::min(length, size_bytes_ - offset);
  const std::uint64_t there = vm_state ? length : on_disk;
  bool zeros = there == 0;
  if (on_disk > 0) {
    BYRE_CO_TRY(const BlockStatus status, co_await this->status(offset, on_disk));
    zeros = status.zero && status.length_bytes == on_disk;
  }
  if (!zeros) {
    result.bytes = Buffer(length, Buffer::Fill::zero);
    const Bytes part = result.bytes.bytes().first(there);
    storage_->announce(AccessEvent::cow_read);
    BYRE_CO_CHECK(co_await read_as_it_is(offset, part));
  } else if (!fresh) {
    result.zeros = length;
  }
  co_return result;
}

Task<Result<void>> Qcow2Disk::write_compressed(std::uint64_t offset_bytes, ConstBytes data) {
  BYRE_CO_CHECK(check_change(*this, offset_bytes, data.size()));
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  const bool last = offset_bytes + data.size() == size_bytes_ && data.size() <= cluster_size;
  if (offset_bytes % cluster_size != 0 || data.empty() || (data.size() != cluster_size && !last)) {
    co_return fail(ErrorCode::invalid_argument, "{} bytes at {} are not one whole cluster of {} bytes", data.size(),
                   offset_bytes, cluster_size);
  }
  const std::uint64_t ticket = compressed_order_.take();
  auto prepared = co_await prepare_change();
  const auto payload =
      co_await compress_in_worker(header_.compression_type, compression_level(), data, cluster_size, cancel_);
  if (prepared && !payload) prepared = std::unexpected(payload.error());
  co_await compressed_order_.wait_for(ticket);
  if (!prepared) {
    compressed_order_.pass();
    co_return prepared;
  }
  co_return co_await write_payload(GuestOffset(offset_bytes), payload->bytes(), data);
}

// An empty payload did not become smaller: the cluster is stored as it is. Called in turn; lets the next through as
// soon as its own place is decided.
Task<Result<void>> Qcow2Disk::write_payload(GuestOffset at, ConstBytes payload, ConstBytes data) {
  const RangeLock::Guard guard = co_await range_lock_.lock(at.bytes, at.bytes + geometry_.cluster_size_bytes());
  const meta::Lease lease = metadata_->lease();
  const std::uint64_t size = std::max<std::uint64_t>(payload.size(), 1);
  const bool plain = payload.empty();
  auto reserved = co_await decide([this, at, size, plain] {
    return plain ? metadata_->reserve_unallocated(at) : metadata_->reserve_compressed(at, size);
  });
  compressed_order_.pass();
  BYRE_CO_TRY(meta::Reservation reservation, std::move(reserved));
  if (plain) {
    BYRE_CO_CHECK(co_await write_reserved(reservation, at, data));
  } else {
    storage_->announce(AccessEvent::write_compressed);
    BYRE_CO_CHECK(co_await write_bytes(*storage_, reservation.extent().offset.bytes, payload));
  }
  BYRE_CO_CHECK(check_running());
  std::move(reservation).commit();
  co_return Result<void>{};
}

}  // namespace byre
