// Before anything moves, what need not be stored is given up: clusters that zero entries keep reserved, clusters that
// hold zeros where they are asked for, and L2 tables that say nothing. An entry that is emptied says zero where the
// version can, so that no backing file shows there.

#include <algorithm>
#include <span>

#include "base/probe.h"
#include "data/batch_io.h"
#include "data/compaction.h"

namespace byre {
namespace {

constexpr std::uint64_t read_at_once_bytes = 8 << 20;

struct Stored {
  std::uint64_t cluster;
  const TableWalk::Table* table;
  std::uint64_t index;
};

}  // namespace

Task<Result<void>> Compaction::thin() {
  holds_data_.resize(options_.zeroes ? map_.end() : 0);
  BYRE_CO_TRY(const CompactRoots all, co_await roots());
  TableWalk walk(storage_, geometry_, all.l1);
  for (;;) {
    BYRE_CO_CHECK(co_await walk.next());
    if (walk.tables().empty()) co_return Result<void>{};
    BYRE_CO_CHECK(co_await thin_tables(all, walk));
  }
}

Task<Result<void>> Compaction::thin_tables(const CompactRoots& all, TableWalk& walk) {
  MoveBatch batch(geometry_);
  for (const TableWalk::Table& table : walk.tables()) {
    for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
      BYRE_CO_TRY(const format::L2Entry entry, walk.entry(table, i));
      if (entry.kind == format::ClusterKind::zero_allocated) drop_entry(all, walk, table, i, batch);
    }
  }
  if (options_.zeroes && can_say_zero()) BYRE_CO_CHECK(co_await drop_zeros(all, walk, batch));
  for (const TableWalk::Table& table : walk.tables()) {
    if (!says_nothing(walk, table)) continue;
    BYRE_PROBE("data: an L2 table that says nothing is dropped");
    const auto leading = std::ranges::equal_range(all.tables, table.at.bytes, {}, &Pointer::target_bytes);
    for (const Pointer& pointer : leading) batch.point(pointer.place_bytes, 0);
    batch.drop(table.at.bytes, geometry_.cluster_size_bytes(), leading.size());
  }
  if (batch.empty()) co_return Result<void>{};
  const std::size_t before = freed_.size();
  BYRE_CO_CHECK(co_await perform(std::move(batch)));
  for (const ClusterRun& run : std::span(freed_).subspan(before)) {
    counts_.dropped_bytes += run.count << geometry_.cluster_bits;
  }
  co_return Result<void>{};
}

bool Compaction::can_say_zero() const { return geometry_.version >= 3 || !options_.backed; }

void Compaction::drop_entry(const CompactRoots& all, TableWalk& walk, const TableWalk::Table& table,
                            std::uint64_t index, MoveBatch& batch) {
  std::byte* raw = walk.raw(table, index);
  const std::uint64_t word = geometry_.version >= 3 ? format::entry_zero_flag : 0;
  batch.drop(load_be64(raw) & format::entry_offset_mask, geometry_.cluster_size_bytes(), all.owners[table.l1_index]);
  batch.point(table.at.bytes + index * geometry_.l2_entry_bytes(), word);
  store_be64(raw, word);
}

// In the order of the file, each cluster once, whatever leads there; what is known to be data not again.
Task<Result<void>> Compaction::drop_zeros(const CompactRoots& all, TableWalk& walk, MoveBatch& batch) {
  std::vector<Stored> stored;
  for (const TableWalk::Table& table : walk.tables()) {
    for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
      BYRE_CO_TRY(const TableWalk::Reference reference, walk.reference(table, i));
      const std::uint64_t cluster = reference.clusters.first;
      if (reference.own && !holds_data_[cluster]) stored.push_back({cluster, &table, i});
    }
  }
  std::ranges::sort(stored, {}, &Stored::cluster);
  std::vector<std::uint64_t> clusters;
  for (const Stored& entry : stored) {
    if (clusters.empty() || clusters.back() != entry.cluster) clusters.push_back(entry.cluster);
  }
  BYRE_CO_CHECK(co_await look_for_data(clusters));
  for (const Stored& entry : stored) {
    if (holds_data_[entry.cluster]) continue;
    BYRE_PROBE("data: a cluster of zeros is dropped");
    drop_entry(all, walk, *entry.table, entry.index, batch);
  }
  co_return Result<void>{};
}

// Many at a time.
Task<Result<void>> Compaction::look_for_data(std::span<const std::uint64_t> clusters) {
  const std::uint64_t cluster_bytes = geometry_.cluster_size_bytes();
  const std::size_t most = std::max<std::uint64_t>(1, read_at_once_bytes / cluster_bytes);
  Buffer buffer(std::min(most, clusters.size()) * cluster_bytes);
  for (; !clusters.empty(); clusters = clusters.subspan(std::min(most, clusters.size()))) {
    BYRE_CO_CHECK(check_cancelled());
    const auto some = clusters.first(std::min(most, clusters.size()));
    std::vector<BatchPart> parts;
    parts.reserve(some.size());
    for (std::size_t i = 0; i < some.size(); ++i) {
      parts.push_back({some[i] << geometry_.cluster_bits, buffer.bytes().subspan(i * cluster_bytes, cluster_bytes)});
    }
    BYRE_CO_CHECK(co_await read_batch(storage_, parts));
    for (std::size_t i = 0; i < some.size(); ++i) holds_data_[some[i]] = !is_all_zero(parts[i].bytes);
    read_bytes_ += some.size() * cluster_bytes;
    show_progress();
  }
  co_return Result<void>{};
}

// Without it the disk reads the same: nothing there, or zeros where nothing else would show.
bool Compaction::says_nothing(const TableWalk& walk, const TableWalk::Table& table) const {
  for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
    const std::uint64_t word = load_be64(walk.raw(table, i));
    if (word != 0 && (options_.backed || word != format::entry_zero_flag)) return false;
  }
  return true;
}

}  // namespace byre
