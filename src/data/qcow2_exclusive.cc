// Operations that change much at once work on the file itself, past the page cache: everything is settled first, they
// run under the dirty bit, and what the disk knows of the file is loaded anew at the end, also where they failed.
//
// Leaves out: requests meanwhile. The caller has the disk to itself.

#include <algorithm>

#include "base/endian.h"
#include "base/math.h"
#include "base/probe.h"
#include "base/text.h"
#include "byre/check/check.h"
#include "data/batch_io.h"
#include "data/exclusive.h"
#include "data/header_rewrite.h"
#include "data/qcow2_disk.h"
#include "data/range.h"

namespace byre {

// Lowering counts gives clusters back: where a count is too low already, that would be data that something else refers
// to. So every count is held against all references first. COPIED flags that are missing, as a crash may leave them in
// version 2, are no reason to refuse. Nothing is written that was not waiting to be written. Returns the number of
// leaks.
Task<Result<std::uint64_t>> Qcow2Disk::check_sound() {
  BYRE_CO_CHECK(check_changeable());
  BYRE_CO_CHECK(co_await settle());
  std::string first;
  std::uint64_t errors = 0;
  CheckOptions options;
  options.on_finding = [&first, &errors](const Finding& finding) {
    if (finding.kind == FindingClass::leak || finding.only_slower) return;
    if (errors++ == 0) first = finding.text;
  };
  BYRE_CO_TRY(const CheckReport report, co_await check_image(*storage_, std::move(options)));
  if (errors == 0) co_return report.leaks;
  BYRE_PROBE("data: an exclusive operation is refused on a damaged image");
  co_return fail(ErrorCode::corrupt, "the image has {} errors ({}): run `byre check -r all` first", errors, first);
}

Result<void> Qcow2Disk::check_changeable() const {
  BYRE_CHECK(check_change(*this, 0, 0));
  return check_running();
}

Task<Result<void>> Qcow2Disk::begin_exclusive() {
  BYRE_CO_CHECK(co_await prepare_change());
  BYRE_CO_CHECK(co_await hold_dirty());
  auto settled = co_await settle();
  if (!settled) {
    co_await release_dirty();
    co_return settled;
  }
  co_await trim_ahead();
  extended_end_bytes_ = 0;
  durable_end_bytes_ = 0;
  auto header = co_await read_header(*storage_, format::HeaderUse::write);  // tables may have moved
  if (header) {
    header_ = *std::move(header);
    co_return settled;
  }
  co_await release_dirty();
  co_return std::unexpected(std::move(header).error());
}

// `work` has not begun yet: a task starts when it is awaited.
Task<Result<void>> Qcow2Disk::exclusively(Task<Result<void>> work) {
  BYRE_CO_CHECK(co_await begin_exclusive());
  auto done = co_await std::move(work);
  auto loaded = co_await reload();
  if (!loaded) {
    // The mapping in memory may be another one than that of the file.
    stopped_ = Error(loaded.error()).with_context("the disk must be opened again");
    --dirty_holds_;
    co_return done ? loaded : done;
  }
  co_await release_dirty();
  co_return done;
}

Task<Result<void>> Qcow2Disk::reload() {
  BYRE_CO_TRY(format::Header header, co_await read_header(*storage_, format::HeaderUse::write));
  LoadOptions options;
  options.writable = true;
  options.cache_size_bytes = cache_size_bytes_;
  BYRE_CO_TRY(LoadedImage image, co_await load_image(*storage_, std::move(header), std::move(options)));
  metadata_ = std::move(image.metadata);
  header_ = std::move(image.header);
  geometry_ = metadata_->geometry();
  lazy_refcounts_ = lazy_refcounts_ && geometry_.version >= 3;
  size_bytes_ = image.size_bytes;
  co_return Result<void>{};
}

Task<Result<void>> Qcow2Disk::change_header(std::function<void(format::Header&)> change) {
  BYRE_CO_CHECK(check_changeable());
  BYRE_CO_CHECK(co_await prepare_change());
  BYRE_CO_CHECK(co_await settle());
  const RangeLock::Guard guard = co_await range_lock_.lock(header_lock, header_lock + 1);
  BYRE_CO_TRY(const format::Header now, co_await read_header(*storage_, format::HeaderUse::write));
  format::Header next = now;
  change(next);
  BYRE_CO_CHECK(co_await replace_header(*storage_, now, std::move(next)));
  BYRE_CO_TRY(header_, co_await read_header(*storage_, format::HeaderUse::write));
  co_return Result<void>{};
}

// Consecutive clusters, counted but not reachable. The counts are durable after settle().
Task<Result<HostOffset>> Qcow2Disk::allocate_region(std::uint64_t length_bytes, Undo& undo) {
  const std::uint64_t clusters = geometry_.clusters_for(length_bytes);
  if (clusters == 0) co_return HostOffset(0);
  if (undo.regions.empty()) undo.file_size_bytes = storage_->size_bytes();
  BYRE_CO_TRY(const HostOffset at, co_await decide([this, clusters] { return metadata_->allocate_region(clusters); }));
  undo.regions.push_back({geometry_.cluster_index(at), clusters});
  co_return at;
}

// Durable when it returns. What could not be put back after a failure are counts that are too high.
Task<Result<void>> Qcow2Disk::raise_counts(TreeCounts& counts, Undo& undo) {
  auto done = co_await counts.apply(CountChange::raise);
  if (!done && !counts.whole()) counts_doubtful_ = true;
  if (!done) co_return done;
  undo.raised = &counts;
  co_return co_await storage_->flush();
}

// Durable when it returns. Best effort: what is not lowered is a leak, which the dirty bit announces. Clusters without
// an owner are given back.
Task<Result<void>> Qcow2Disk::lower_counts(TreeCounts& counts) {
  auto done = co_await counts.apply(CountChange::lower);
  if (done) done = co_await storage_->flush();
  if (!done) {
    counts_doubtful_ = true;
    co_return done;
  }
  if (pass_discard_snapshot_) co_await punch_runs(counts.take_freed());
  co_return done;
}

Task<void> Qcow2Disk::punch_runs(std::vector<ClusterRun> runs) {
  if (discard_) co_await punch_clusters(*storage_, geometry_.cluster_bits, std::move(runs));
}

// Not synced.
Task<Result<void>> Qcow2Disk::write_l1(HostOffset at, const std::vector<std::uint64_t>& entries) {
  if (entries.empty()) co_return Result<void>{};
  Buffer bytes(entries.size() * 8);
  for (std::size_t i = 0; i < entries.size(); ++i) store_be64(bytes.data() + i * 8, entries[i]);
  const ConstBytes view = bytes.bytes();
  co_return co_await write_bytes(*storage_, at.bytes, view);
}

// COPIED where the counts allow it now, so that clusters are written in place again (O-14). Durable when it returns.
Task<Result<void>> Qcow2Disk::mark_copied() {
  std::vector<std::uint64_t> l1 = metadata_->l1();
  BYRE_CO_CHECK(co_await set_copied(*storage_, geometry_, metadata_->refcount_table(), l1));
  BYRE_CO_CHECK(co_await write_l1(metadata_->l1_offset(), l1));
  co_return co_await storage_->flush();
}

// After a failure: the counts and flags as they were, and the new clusters free. What cannot be taken back stays as a
// leak, and on version 3 the dirty bit with it.
Task<void> Qcow2Disk::take_back(Undo& undo) {
  if (undo.published) {
    counts_doubtful_ = true;  // whether the header was written is not known: the counts suit both
    co_return;
  }
  BYRE_PROBE("data: an exclusive operation that failed is taken back");
  const auto done = co_await take_back_steps(undo);
  if (!done) counts_doubtful_ = true;
}

Task<Result<void>> Qcow2Disk::take_back_steps(Undo& undo) {
  if (undo.raised) BYRE_CO_CHECK(co_await lower_counts(*undo.raised));
  BYRE_CO_CHECK(co_await storage_->flush());  // counts that the sweep itself has put back
  if (undo.flags_cleared) BYRE_CO_CHECK(co_await mark_copied());
  BYRE_CO_CHECK(co_await reload());
  for (const ClusterRun& run : undo.regions) {
    for (std::uint64_t cluster = run.first; cluster < run.end(); ++cluster) {
      const HostOffset at = geometry_.host_cluster(cluster);
      BYRE_CO_CHECK(co_await decide([this, at] { return metadata_->give_back(at); }));
    }
  }
  BYRE_CO_CHECK(co_await settle());
  if (undo.regions.empty()) co_return Result<void>{};
  const auto end = co_await decide([this] { return metadata_->trim_end(); });
  co_await cut_file(end ? std::max(end->bytes, undo.file_size_bytes) : storage_->size_bytes());
  co_return Result<void>{};
}

std::vector<ClusterRun> Qcow2Disk::clusters_of(HostOffset at, std::uint64_t length_bytes) const {
  if (length_bytes == 0) return {};
  return {{geometry_.cluster_index(at), geometry_.clusters_for(length_bytes)}};
}

TreeCounts::Parts Qcow2Disk::tree(std::vector<std::uint64_t> l1, std::vector<ClusterRun> others) const {
  return {std::move(l1), metadata_->refcount_table(), std::move(others)};
}

}  // namespace byre
