// The references are collected for one window of the host file at a time, so that memory has a bound: a file that is
// longer than a window has its tables read once for each. One window is four terabytes of clusters of 64 KiB.

#include "data/tree_counts.h"

#include <algorithm>

#include "base/endian.h"
#include "base/math.h"
#include "base/probe.h"
#include "data/count_reader.h"
#include "data/table_walk.h"

namespace byre {
namespace {

constexpr std::uint64_t window_clusters = 64 << 20;

void add_inside(ClusterRuns& runs, std::uint64_t first, std::uint64_t count, std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t from = std::max(first, begin);
  const std::uint64_t to = std::min(first + count, end);
  if (from < to) runs.add(from, to - from);
}

// The refcount table entries behind which the counts of a batch of tables lie.
Result<std::vector<std::uint64_t>> blocks_of(const format::Geometry& geometry, TableWalk& walk) {
  std::vector<std::uint64_t> indexes;
  const auto need = [&](std::uint64_t cluster) {
    const std::uint64_t index = geometry.refcount_table_index(cluster);
    if (indexes.empty() || indexes.back() != index) indexes.push_back(index);
  };
  for (const TableWalk::Table& table : walk.tables()) {
    need(geometry.cluster_index(table.at));
    for (std::uint64_t i = 0; i < geometry.l2_entries(); ++i) {
      BYRE_TRY(const TableWalk::Reference reference, walk.reference(table, i));
      if (reference.own) need(reference.clusters.first);
    }
  }
  std::ranges::sort(indexes);
  const auto [first, last] = std::ranges::unique(indexes);
  indexes.erase(first, last);
  return indexes;
}

// COPIED is the highest bit of an entry's first word, whatever else there is.
bool change_flag(std::byte* raw, bool copied) {
  const std::uint64_t word = load_be64(raw);
  const std::uint64_t wanted = copied ? word | format::entry_copied_flag : word & ~format::entry_copied_flag;
  if (wanted != word) store_be64(raw, wanted);
  return wanted != word;
}

Result<void> set_copied_of_batch(const format::Geometry& geometry, TableWalk& walk, const CountReader& counts,
                                 std::vector<std::uint64_t>& l1) {
  for (TableWalk::Table& table : walk.tables()) {
    for (std::uint64_t i = 0; i < geometry.l2_entries(); ++i) {
      BYRE_TRY(const TableWalk::Reference reference, walk.reference(table, i));
      if (!reference.own) continue;
      table.changed |= change_flag(walk.raw(table, i), counts.count(reference.clusters.first) == 1);
    }
    std::uint64_t& root = l1[table.l1_index];
    root = format::encode_l1_entry({table.at, counts.count(geometry.cluster_index(table.at)) == 1});
  }
  return {};
}

}  // namespace

Task<Result<void>> TreeCounts::collect(std::uint64_t begin, std::uint64_t end, ClusterRuns& runs) {
  for (const ClusterRun& run : parts_.others) add_inside(runs, run.first, run.count, begin, end);
  TableWalk walk(storage_, geometry_, parts_.l1);
  for (;;) {
    BYRE_CO_CHECK(co_await walk.next());
    if (walk.tables().empty()) co_return Result<void>{};
    for (const TableWalk::Table& table : walk.tables()) {
      add_inside(runs, geometry_.cluster_index(table.at), 1, begin, end);
      for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
        BYRE_CO_TRY(const TableWalk::Reference reference, walk.reference(table, i));
        add_inside(runs, reference.clusters.first, reference.clusters.count, begin, end);
      }
    }
  }
}

Task<Result<void>> TreeCounts::every_window(CountChange change, Step step) {
  const std::uint64_t clusters = geometry_.clusters_for(storage_.size_bytes());
  for (std::uint64_t begin = 0; begin < clusters; begin += window_clusters) {
    ClusterRuns found;
    BYRE_CO_CHECK(co_await collect(begin, begin + window_clusters, found));
    const std::vector<ClusterRun> runs = found.take_sorted();
    if (step == Step::check) {
      BYRE_CO_CHECK(co_await sweep_.check(runs, change));
    } else {
      BYRE_CO_CHECK(co_await sweep_.apply(runs, change, &freed_));
    }
  }
  co_return Result<void>{};
}

Task<Result<void>> TreeCounts::check(CountChange change) { co_return co_await every_window(change, Step::check); }

Task<Result<void>> TreeCounts::apply(CountChange change) { co_return co_await every_window(change, Step::apply); }

Task<Result<void>> clear_copied(Storage& storage, const format::Geometry& geometry,
                                const std::vector<std::uint64_t>& l1) {
  TableWalk walk(storage, geometry, l1);
  for (;;) {
    BYRE_CO_CHECK(co_await walk.next());
    if (walk.tables().empty()) co_return Result<void>{};
    for (TableWalk::Table& table : walk.tables()) {
      for (std::uint64_t i = 0; i < geometry.l2_entries(); ++i) {
        BYRE_CO_TRY(const TableWalk::Reference reference, walk.reference(table, i));
        if (reference.own) table.changed |= change_flag(walk.raw(table, i), false);
      }
    }
    BYRE_CO_CHECK(co_await walk.store());
  }
}

Task<Result<void>> set_copied(Storage& storage, const format::Geometry& geometry,
                              const std::vector<std::uint64_t>& refcount_table, std::vector<std::uint64_t>& l1) {
  const std::vector<std::uint64_t> roots = l1;
  TableWalk walk(storage, geometry, roots);
  CountReader counts(storage, geometry, refcount_table);
  for (;;) {
    BYRE_CO_CHECK(co_await walk.next());
    if (walk.tables().empty()) co_return Result<void>{};
    BYRE_CO_TRY(std::vector<std::uint64_t> blocks, blocks_of(geometry, walk));
    BYRE_CO_CHECK(co_await counts.load(std::move(blocks)));
    BYRE_CO_CHECK(set_copied_of_batch(geometry, walk, counts, l1));
    BYRE_CO_CHECK(co_await walk.store());
  }
}

}  // namespace byre
