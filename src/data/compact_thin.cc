// Before anything moves, what need not be stored is given up: clusters that zero entries keep reserved, clusters that
// hold zeros where they are asked for, and L2 tables that say nothing. An entry that is emptied says zero where the
// version can, so that no backing file shows there.

#include <algorithm>

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
    counts_.dropped_bytes += geometry_.cluster_size_bytes();
  }
  if (batch.empty()) co_return Result<void>{};
  co_return co_await perform(std::move(batch));
}

bool Compaction::can_say_zero() const { return geometry_.version >= 3 || !options_.backed; }

void Compaction::drop_entry(const CompactRoots& all, TableWalk& walk, const TableWalk::Table& table,
                            std::uint64_t index, MoveBatch& batch) {
  std::byte* raw = walk.raw(table, index);
  const std::uint64_t word = geometry_.version >= 3 ? format::entry_zero_flag : 0;
  batch.drop(load_be64(raw) & format::entry_offset_mask, geometry_.cluster_size_bytes(), all.owners[table.l1_index]);
  batch.point(table.at.bytes + index * geometry_.l2_entry_bytes(), word);
  store_be64(raw, word);
  counts_.dropped_bytes += geometry_.cluster_size_bytes();
}

// In the order of the file, many at a time.
Task<Result<void>> Compaction::drop_zeros(const CompactRoots& all, TableWalk& walk, MoveBatch& batch) {
  std::vector<Stored> stored;
  for (const TableWalk::Table& table : walk.tables()) {
    for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
      BYRE_CO_TRY(const TableWalk::Reference reference, walk.reference(table, i));
      if (reference.own) stored.push_back({reference.clusters.first, &table, i});
    }
  }
  std::ranges::sort(stored, {}, &Stored::cluster);
  const std::uint64_t cluster_bytes = geometry_.cluster_size_bytes();
  const std::size_t most = std::max<std::uint64_t>(1, read_at_once_bytes / cluster_bytes);
  Buffer buffer(std::min(most, stored.size()) * cluster_bytes);
  for (std::size_t begin = 0; begin < stored.size(); begin += most) {
    BYRE_CO_CHECK(check_cancelled());
    const std::size_t end = std::min(stored.size(), begin + most);
    std::vector<BatchPart> parts;
    for (std::size_t i = begin; i < end; ++i) {
      const Bytes bytes = buffer.bytes().subspan((i - begin) * cluster_bytes, cluster_bytes);
      parts.push_back({stored[i].cluster << geometry_.cluster_bits, bytes});
    }
    BYRE_CO_CHECK(co_await read_batch(storage_, parts));
    for (std::size_t i = begin; i < end; ++i) {
      if (!is_all_zero(parts[i - begin].bytes)) continue;
      BYRE_PROBE("data: a cluster of zeros is dropped");
      drop_entry(all, walk, *stored[i].table, stored[i].index, batch);
    }
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
