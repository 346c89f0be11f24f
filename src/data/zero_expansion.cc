// A cluster that a zero entry keeps reserved is given up rather than zeroed: a snapshot may still need its content.

#include "data/zero_expansion.h"

#include <algorithm>

namespace byre {

Task<Result<void>> ZeroExpansion::find(CountReader& counts) {
  std::vector<std::uint64_t> blocks;
  for (const TableWalk::Table& table : walk_.tables()) {
    blocks.push_back(geometry_.refcount_table_index(geometry_.cluster_index(table.at)));
  }
  BYRE_CO_CHECK(co_await counts.load(std::move(blocks)));
  for (std::size_t table = 0; table < walk_.tables().size(); ++table) {
    const std::uint64_t owners = counts.count(geometry_.cluster_index(walk_.tables()[table].at));
    for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
      BYRE_CO_TRY(const format::L2Entry entry, walk_.entry(walk_.tables()[table], i));
      if (entry.kind == format::ClusterKind::zero_plain) entries_.push_back({table, i, owners, 0});
      if (entry.kind == format::ClusterKind::zero_allocated) {
        entries_.push_back({table, i, owners, geometry_.cluster_index(entry.host)});
      }
    }
  }
  co_return Result<void>{};
}

std::vector<ClusterRun> ZeroExpansion::place(std::uint64_t first) {
  std::vector<ClusterRun> further;
  for (Entry& entry : entries_) {
    entry.new_cluster = first++;
    if (entry.owners > 1) further.push_back({entry.new_cluster, 1, entry.owners - 1});
  }
  return further;
}

void ZeroExpansion::change_entries() {
  for (const Entry& entry : entries_) {
    TableWalk::Table& table = walk_.tables()[entry.table];
    const auto now = backed_ ? format::L2Entry::normal(geometry_.host_cluster(entry.new_cluster), false)
                             : format::L2Entry::unallocated();
    format::encode_l2_entry(geometry_, now, walk_.raw(table, entry.index));
    table.changed = true;
  }
}

std::vector<ClusterRun> ZeroExpansion::take_dropped() {
  std::vector<ClusterRun> dropped;
  for (const Entry& entry : entries_) {
    if (entry.old_cluster != 0) dropped.push_back({entry.old_cluster, 1, entry.owners});
  }
  std::ranges::sort(dropped, {}, &ClusterRun::first);
  std::vector<ClusterRun> joined;  // two entries may have kept the same cluster
  for (const ClusterRun& run : dropped) {
    if (!joined.empty() && joined.back().first == run.first) {
      joined.back().references += run.references;
    } else {
      joined.push_back(run);
    }
  }
  return joined;
}

}  // namespace byre
