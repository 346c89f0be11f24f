// Write-back: one pipeline at a time. A flush that arrives while one runs waits for the next, which begins after it and
// so covers what completed before it; flushes that wait share that one.
//
// Each stage is durable before the next begins (docs/ordering.md). If one fails, everything of the cut is dirty again
// and nothing that it unlinked is given back; the next pipeline writes it anew.

#include <algorithm>
#include <cstring>

#include "base/broken.h"
#include "base/text.h"
#include "data/qcow2_disk.h"

namespace byre {
namespace {
constexpr std::size_t writes_in_flight = 16;

struct Stage {
  const std::vector<meta::CutWrite>* writes;
  AccessEvent event;
};

// The writes with what their pages hold now instead of at the cut: for tests that break the rule.
std::vector<meta::CutWrite> as_of_now(meta::PageCache& cache, std::vector<meta::CutWrite> writes) {
  const std::size_t page_size = cache.page_size_bytes();
  for (meta::CutWrite& write : writes) {
    for (std::size_t offset = 0; offset + page_size <= write.bytes.size(); offset += page_size) {
      const meta::Page* page = cache.find(write.at + offset);
      if (page) std::memcpy(write.bytes.data() + offset, page->bytes.get(), page_size);
    }
  }
  return writes;
}
}  // namespace

Qcow2Disk::Qcow2Disk(Parts parts)
    : storage_(std::move(parts.storage)),
      backing_(std::move(parts.backing)),
      metadata_(std::move(parts.image.metadata)),
      header_(std::move(parts.image.header)),
      geometry_(metadata_->geometry()),
      size_bytes_(parts.image.size_bytes),
      cache_size_bytes_(parts.cache_size_bytes),
      discard_(parts.discard),
      pass_discard_request_(parts.pass_discard_request),
      pass_discard_snapshot_(parts.pass_discard_snapshot),
      detect_zeroes_(parts.detect_zeroes),
      backing_is_absent_(parts.backing_is_absent),
      writable_(parts.writable),
      lazy_refcounts_(parts.lazy_refcounts),
      copy_on_read_(parts.copy_on_read),
      cancel_(parts.cancel),
      log_(std::move(parts.log)),
      opened_size_bytes_(storage_->size_bytes()) {}

Qcow2Disk::~Qcow2Disk() = default;

Task<Result<void>> Qcow2Disk::flush() {
  if (!writable()) co_return Result<void>{};
  BYRE_CO_CHECK(check_running());
  const std::uint64_t wanted = write_backs_begun_ + 1;
  while (write_backs_ended_ < wanted) {
    if (write_back_running_) {
      BYRE_PROBE("data: a flush waits for the one that runs");
      co_await write_back_ended_.wait();
      continue;
    }
    write_back_running_ = true;
    const std::uint64_t number = ++write_backs_begun_;
    last_write_back_ = co_await write_back();
    write_backs_ended_ = number;
    write_back_running_ = false;
    write_back_ended_.wake_all();
  }
  co_return last_write_back_;
}

Task<Result<void>> Qcow2Disk::write_back() {
  // What has become quiet since belongs to this cut. Where its pages cannot be read it stays for later: a leak at
  // worst.
  const Result<void> before = co_await release();
  if (!before && stopped_) co_return before;
  const bool counts_can_wait = lazy_refcounts_ && dirty_marked_ && settling_ == 0;
  const meta::Cut cut = metadata_->begin_cut(counts_can_wait ? meta::CutScope::mapping : meta::CutScope::all);
  auto written = co_await write_cut(cut);
  metadata_->finish_cut(cut, written.has_value());
  if (!written) {
    co_return std::unexpected(std::move(written).error().with_context("flush"));
  }
  const Result<void> after = co_await release();
  if (!after && stopped_) co_return after;
  co_return Result<void>{};
}

// The first sync makes counts and the guest data durable before the links that refer to them (O-1, O-4, O-8). It is
// left out where there are no counts, and where links without their data read as the guest's old content.
Task<Result<void>> Qcow2Disk::write_cut(const meta::Cut& cut) {
  storage_->announce(AccessEvent::flush_to_os);
  const bool mapping_only = cut.scope == meta::CutScope::mapping;
  if (mapping_only && cut.made.fresh_end.bytes > durable_end_bytes_) co_await extend_ahead(cut.made.fresh_end);
  const bool as_before = !cut.made.data_first || BYRE_BROKEN("lazy-link-not-fresh");
  const bool inside = cut.made.fresh_end.bytes <= durable_end_bytes_ || BYRE_BROKEN("lazy-link-behind-end");
  const bool any_order = mapping_only && as_before && inside && !cut.links.empty();
  if (any_order) BYRE_PROBE("data: links and data become durable in one sync");
  if (!cut.table.empty()) storage_->announce(AccessEvent::refblock_alloc);
  BYRE_CO_CHECK(co_await write_stage(cut.counts, AccessEvent::refblock_update));
  if (!any_order && (cut.links.empty() || !BYRE_BROKEN("no-sync-before-l2"))) BYRE_CO_CHECK(co_await sync());
  const Stage stages[] = {
      {&cut.table, cut.pointer.empty() ? AccessEvent::refblock_alloc_hookup : AccessEvent::reftable_update},
      {&cut.pointer, AccessEvent::reftable_update},
      {&cut.links, AccessEvent::l2_update},
      {&cut.roots, cut.l1_pointer.empty() ? AccessEvent::l1_update : AccessEvent::l1_grow_write_table},
      {&cut.l1_pointer, AccessEvent::l1_grow_activate_table},
  };
  for (const auto& [stage, event] : stages) {
    if (stage->empty()) continue;
    BYRE_CO_CHECK(check_running());
    if (BYRE_BROKEN("no-cut")) {
      const std::vector<meta::CutWrite> now = as_of_now(metadata_->cache(), *stage);
      BYRE_CO_CHECK(co_await write_stage(now, event));
    } else {
      BYRE_CO_CHECK(co_await write_stage(*stage, event));
    }
    if (stage == &cut.links && !cut.roots.empty() && BYRE_BROKEN("no-sync-before-l1")) continue;
    BYRE_CO_CHECK(co_await sync());
  }
  co_return Result<void>{};
}

Task<Result<void>> Qcow2Disk::sync() {
  const std::uint64_t extended = extended_end_bytes_;
  storage_->announce(AccessEvent::flush_to_disk);
  BYRE_CO_CHECK(co_await storage_->flush());
  durable_end_bytes_ = std::max(durable_end_bytes_, extended);
  co_return Result<void>{};
}

Task<Result<void>> Qcow2Disk::write_stage(const std::vector<meta::CutWrite>& writes, AccessEvent event) {
  if (writes.size() == 1) {
    storage_->announce(event);
    co_return co_await write_bytes(*storage_, writes[0].at.bytes, writes[0].bytes);
  }
  TaskGroup group;
  for (const meta::CutWrite& write : writes) {
    co_await group.wait_below(writes_in_flight - 1);
    storage_->announce(event);
    group.start(write_bytes(*storage_, write.at.bytes, write.bytes));
  }
  co_return co_await group.join();
}

Task<Result<void>> Qcow2Disk::release() {
  for (;;) {
    BYRE_CO_TRY(std::optional<meta::HostRun> run, co_await decide([this] { return metadata_->release_quiet(); }));
    if (metadata_->damage()) BYRE_CO_CHECK(co_await mark_corrupt(*metadata_->damage()));
    if (!run) co_return Result<void>{};
    const std::uint64_t length = run->clusters << geometry_.cluster_bits;
    // Best effort: a cluster that cannot be punched is free all the same.
    const std::uint64_t there = storage_->size_bytes();
    if (run->at.bytes < there) {
      storage_->announce(AccessEvent::cluster_free);
      [[maybe_unused]] const auto punched =
          co_await storage_->punch(run->at.bytes, std::min(length, there - run->at.bytes));
    }
    meta::HostRun left = *run;
    BYRE_CO_CHECK(co_await decide([this, &left] { return metadata_->finish_punch(left); }));
  }
}

// Stops all changes, and leaves the corrupt bit where the version has one, before the error is returned (O-27). If it
// is the first change, the autoclear bits go with it, in one write of one sector (O-19).
Task<Result<void>> Qcow2Disk::mark_corrupt(Error error) {
  Error reported = std::move(error).in_file(storage_->name());
  if (!writable() || stopped_) co_return std::unexpected(std::move(reported));
  stopped_ = reported;
  if (log_) log_(LogLevel::warning, reported.message() + "; the image is not written any more");
  if (geometry_.version >= 3) {
    header_.incompatible_features |= format::incompatible::corrupt;
    header_.autoclear_features = 0;
    const RangeLock::Guard guard = co_await range_lock_.lock(header_lock, header_lock + 1);
    BYRE_CO_CHECK(co_await store_marks(true, true));
  }
  co_return std::unexpected(std::move(reported));
}

// Flushes until nothing is left to write, counts included: a release makes counts dirty once more.
Task<Result<void>> Qcow2Disk::settle() {
  ++settling_;
  Result<void> done;
  do {
    done = co_await flush();
  } while (done && metadata_->dirty());
  --settling_;
  co_return done;
}

// The dirty bit goes last (O-12); where something before it failed, it stays.
Task<Result<void>> Qcow2Disk::end_session() {
  if (BYRE_BROKEN("clear-dirty-early")) BYRE_CO_CHECK(co_await clear_dirty_mark());
  BYRE_CO_CHECK(co_await settle());
  co_await trim_ahead();
  co_return co_await clear_dirty_mark();
}

Task<Result<void>> Qcow2Disk::close() {
  BYRE_ASSERT(!closed_);
  closed_ = true;
  Result<void> result;
  if (writable() && !stopped_) result = co_await end_session();
  if (backing_) {
    auto below = co_await backing_->close();
    if (result && !below) result = std::move(below);
  }
  co_return result;
}

}  // namespace byre
