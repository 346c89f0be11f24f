// Each snapshot has its own L1 table; L2 tables are shared, so each is known with all the entries that lead to it.

#include "data/compact_roots.h"

#include <algorithm>

#include "base/math.h"
#include "data/load.h"
#include "format/entry.h"

namespace byre {
namespace {

class Reader {
 public:
  Reader(Storage& storage, const format::Header& header)
      : storage_(storage), header_(header), geometry_(header.geometry()) {}

  Task<Result<CompactRoots>> run() {
    BYRE_CO_CHECK(co_await add_l1(header_.l1_table, header_.l1_entries, format::header_field::l1_table + 4));
    BYRE_CO_CHECK(co_await add_snapshots());
    add(roots_.others, header_.refcount_table, header_.refcount_table_clusters << geometry_.cluster_bits,
        format::header_field::refcount_table);
    std::ranges::sort(roots_.tables, {}, &Pointer::target_bytes);
    for (const Pointer& pointer : roots_.tables) {
      if (roots_.l1.empty() || roots_.l1.back() != pointer.target_bytes()) {
        roots_.l1.push_back(pointer.target_bytes());
        roots_.owners.push_back(0);
      }
      ++roots_.owners.back();
    }
    co_return std::move(roots_);
  }

 private:
  void add(std::vector<Region>& regions, HostOffset at, std::uint64_t length_bytes, std::uint64_t place_bytes) const {
    const std::uint64_t clusters = geometry_.clusters_for(length_bytes);
    if (clusters > 0) regions.push_back({geometry_.cluster_index(at), clusters, place_bytes});
  }

  Task<Result<void>> add_l1(HostOffset at, std::uint64_t entries, std::uint64_t place_bytes) {
    add(roots_.l1_tables, at, entries * 8, place_bytes);
    BYRE_CO_TRY(const std::vector<std::uint64_t> l1, co_await read_table(storage_, at, entries));
    for (std::size_t i = 0; i < l1.size(); ++i) {
      if ((l1[i] & format::entry_offset_mask) != 0) roots_.tables.push_back({at.bytes + i * 8, l1[i], 1});
    }
    co_return Result<void>{};
  }

  Task<Result<void>> add_snapshots() {
    BYRE_CO_TRY(const std::vector<format::Snapshot> snapshots, co_await read_snapshots(storage_, header_));
    std::uint64_t entry = header_.snapshot_table.bytes;
    for (const format::Snapshot& snapshot : snapshots) {
      BYRE_CO_CHECK(check_usable(snapshot, header_, storage_.size_bytes()));
      BYRE_CO_CHECK(
          co_await add_l1(snapshot.l1_table, snapshot.l1_entries, entry));  // the entry begins with the pointer
      entry += round_up(format::stored_snapshot_table_bytes({snapshot}), 8);
    }
    if (snapshots.empty()) co_return Result<void>{};
    add(roots_.others, header_.snapshot_table, format::stored_snapshot_table_bytes(snapshots),
        format::header_field::snapshots + 4);
    co_return Result<void>{};
  }

  Storage& storage_;
  const format::Header& header_;
  const format::Geometry geometry_;
  CompactRoots roots_;
};

}  // namespace

Task<Result<CompactRoots>> read_compact_roots(Storage& storage, const format::Header& header) {
  Reader reader(storage, header);
  co_return co_await reader.run();
}

}  // namespace byre
