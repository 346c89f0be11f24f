// What the header says about a session: the autoclear bits that its changes make untrue, and the dirty bit, which
// stands while counts on disk may be wrong (docs/format.md section 16). All of it lies in one sector, so several marks
// that are due go in one write. Each is durable before what it announces, or after what it takes back.
//
// With lazy refcounts the file is kept longer than what is used, in steps: a cluster that lies inside the durable
// length and was never written reads as zeros after any crash, so that its link need not wait for its data.

#include <algorithm>

#include "base/broken.h"
#include "base/endian.h"
#include "base/math.h"
#include "data/qcow2_disk.h"
#include "format/limits.h"

namespace byre {
namespace {
constexpr std::uint64_t step_clusters = 64;
constexpr std::uint64_t least_step_bytes = 64 << 10;
constexpr std::uint64_t most_step_bytes = 16 << 20;
}  // namespace

bool Qcow2Disk::marks_due(bool dirty) const {
  return !autoclear_done_ || (dirty && geometry_.version >= 3 && !dirty_marked_);
}

// Called before every change; one of the mapping alone can make counts wrong.
Task<Result<void>> Qcow2Disk::prepare_change(Touches touches) {
  BYRE_CO_CHECK(check_running());
  // If the autoclear bits have to go, the dirty bit comes along, a little early.
  const bool early = !autoclear_done_ && header_.autoclear_features != 0;
  const bool dirty = lazy_refcounts_ && (touches == Touches::mapping || early);
  if (marks_due(dirty)) BYRE_CO_CHECK(co_await mark_header(dirty));
  if (metadata_->wants_write_back()) {
    BYRE_PROBE("data: the dirty limit starts a write-back");
    BYRE_CO_CHECK(co_await flush());
  }
  co_return Result<void>{};
}

// Autoclear bits promise something that changes may break: they go before anything else changes (O-19). Bitmaps, the
// only ones known here, are not kept up to date by this engine. The dirty bit comes before the first link whose counts
// wait (O-11).
Task<Result<void>> Qcow2Disk::mark_header(bool dirty) {
  const RangeLock::Guard guard = co_await range_lock_.lock(header_lock, header_lock + 1);
  const bool set_dirty = dirty && geometry_.version >= 3 && !dirty_marked_;
  const bool clear_autoclear = header_.autoclear_features != 0;
  if (set_dirty || clear_autoclear) {
    const std::uint64_t autoclear = header_.autoclear_features;
    if (set_dirty) header_.incompatible_features |= format::incompatible::dirty;
    header_.autoclear_features = 0;
    const auto stored = co_await store_marks(set_dirty, clear_autoclear);
    if (!stored) {
      header_.autoclear_features = autoclear;
      co_return stored;
    }
    BYRE_CO_CHECK(check_running());
  }
  if (set_dirty) BYRE_PROBE("data: the dirty bit is set");
  dirty_marked_ = dirty_marked_ || set_dirty;
  autoclear_done_ = true;
  co_return Result<void>{};
}

// The caller holds header_lock: of two writes that overlap in time either might stay.
Task<Result<void>> Qcow2Disk::store_marks(bool incompatible, bool autoclear) {
  if (header_.is_dirty() && BYRE_BROKEN("dirty-bit-not-durable")) co_return Result<void>{};
  std::byte fields[24];
  store_be64(fields, header_.incompatible_features);
  store_be64(fields + 8, header_.compatible_features);
  store_be64(fields + 16, header_.autoclear_features);
  const std::size_t from = incompatible ? 0 : 16;
  const std::size_t to = autoclear ? 24 : 8;
  const ConstBytes bytes = ConstBytes(fields).subspan(from, to - from);
  BYRE_CO_CHECK(co_await write_bytes(*storage_, format::header_field::incompatible_features + from, bytes));
  co_return co_await storage_->flush();
}

// Everything else is durable (O-12). Does nothing where the bit is not set.
Task<Result<void>> Qcow2Disk::clear_dirty_mark() {
  if (!header_.is_dirty() || counts_doubtful_) co_return Result<void>{};
  const RangeLock::Guard guard = co_await range_lock_.lock(header_lock, header_lock + 1);
  BYRE_CO_CHECK(check_running());
  dirty_marked_ = false;
  header_.incompatible_features &= ~format::incompatible::dirty;
  auto stored = co_await store_marks(true, false);
  if (!stored) header_.incompatible_features |= format::incompatible::dirty;  // perhaps still, or again
  co_return stored;
}

// An exclusive operation runs under the dirty bit, so that a crash in its middle is repaired like any other. Version 2
// has no such bit; the order of writes must do there.
Task<Result<void>> Qcow2Disk::hold_dirty() {
  if (marks_due(true)) BYRE_CO_CHECK(co_await mark_header(true));
  ++dirty_holds_;
  co_return Result<void>{};
}

// What the operation did is made durable and the bit is cleared, unless lazy refcounts keep it. Where that fails, the
// bit stays for now, and close() tries again.
Task<void> Qcow2Disk::release_dirty() {
  BYRE_ASSERT(dirty_holds_ > 0);
  if (--dirty_holds_ > 0 || lazy_refcounts_ || stopped_ || !header_.is_dirty()) co_return;
  const auto settled = co_await settle();
  if (!settled) co_return;
  [[maybe_unused]] const auto cleared = co_await clear_dirty_mark();
}

// Best effort: without it a flush takes one sync more. The next sync makes the length durable.
Task<void> Qcow2Disk::extend_ahead(HostOffset links_end) {
  const std::uint64_t step = std::clamp(step_clusters << geometry_.cluster_bits, least_step_bytes, most_step_bytes);
  const std::uint64_t used_end = std::max(links_end, metadata_->host_end()).bytes;
  const std::uint64_t end = round_up(used_end + step, geometry_.cluster_size_bytes());
  if (end > format::max_host_offset) co_return;
  const auto extended = co_await storage_->extend(end);
  if (!extended) co_return;
  BYRE_PROBE("data: the file is extended ahead of what is used");
  extended_end_bytes_ = std::max(extended_end_bytes_, end);
}

// At the end of a session. Never below the length that the file had before: what a damaged image holds there uncounted
// is not ours to cut off.
Task<void> Qcow2Disk::trim_ahead() {
  if (extended_end_bytes_ == 0 || metadata_->dirty() || metadata_->releases_pending()) co_return;
  const auto end = co_await decide([this] { return metadata_->trim_end(); });
  co_await cut_file(end ? std::max(end->bytes, opened_size_bytes_) : storage_->size_bytes());
}

}  // namespace byre
