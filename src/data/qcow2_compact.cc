// What compaction asks of an image before it begins, and what it leaves behind: counts that are exact, so that every
// cluster which is counted has something that leads to it, and COPIED where a count has become 1.

#include "base/probe.h"
#include "base/text.h"
#include "byre/check/check.h"
#include "data/compaction.h"
#include "data/qcow2_disk.h"

namespace byre {

Task<Result<CompactionCounts>> Qcow2Disk::compact(CompactionOptions options) {
  BYRE_CO_CHECK(check_compactable());
  BYRE_CO_TRY(const std::uint64_t leaks, co_await check_sound());
  if (leaks > 0) BYRE_CO_CHECK(co_await free_leaks());
  CompactionCounts counts;
  Task<Result<void>> work = do_compact(std::move(options), counts);
  BYRE_CO_CHECK(co_await exclusively(std::move(work)));
  co_return counts;
}

Result<void> Qcow2Disk::check_compactable() const {
  BYRE_CHECK(check_changeable());
  if (header_.bitmaps) {
    return fail(ErrorCode::unsupported, "the image has bitmaps, whose clusters cannot be moved yet: remove them first");
  }
  if (geometry_.external_data_file || geometry_.extended_l2) {
    return fail(ErrorCode::unsupported, "images with {} cannot be compacted yet",
                geometry_.extended_l2 ? "extended L2 entries" : "an external data file");
  }
  return {};
}

// The checker knows what is not referred to. It clears the dirty bit; the exclusive operation sets it again. Other
// marks go before it changes anything (O-19).
Task<Result<void>> Qcow2Disk::free_leaks() {
  BYRE_PROBE("data: leaks are freed before compacting");
  BYRE_CO_CHECK(co_await prepare_change());
  CheckOptions options;
  options.repair = Repair::leaks;
  BYRE_CO_TRY(const CheckReport report, co_await check_image(*storage_, std::move(options)));
  dirty_marked_ = report.dirty;
  co_return co_await reload();
}

Task<Result<void>> Qcow2Disk::do_compact(CompactionOptions options, CompactionCounts& counts) {
  options.backed = !header_.backing_name.empty();
  options.punch = options.punch && discard_;
  Compaction compaction(*storage_, header_, metadata_->refcount_table(), std::move(options));
  auto done = co_await compaction.run();
  counts = compaction.counts();
  if (!compaction.exact()) counts_doubtful_ = true;
  BYRE_CO_CHECK(co_await reload());
  auto marked = co_await mark_copied();
  co_return done ? marked : done;
}

}  // namespace byre
