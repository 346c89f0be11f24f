// Walks the L2 tables that an L1 table leads to, past the page cache: for operations that have the image to themselves
// and touch everything. What they change must not be cached; Qcow2Disk::reload() follows.
#pragma once

#include <cstdint>
#include <vector>

#include "base/endian.h"
#include "base/math.h"
#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "data/batch_io.h"
#include "data/cluster_runs.h"
#include "format/entry.h"
#include "format/geometry.h"

namespace byre {

// Where the L2 table is that entry `index` of an L1 table names; 0: none. `end_bytes` is the end of the file's last
// cluster. Errors: corrupt.
Result<HostOffset> find_l2_table(const format::Geometry& geometry, std::uint64_t raw, std::uint64_t index,
                                 std::uint64_t end_bytes);

class TableWalk {
 public:
  struct Table {
    std::uint64_t l1_index;
    HostOffset at;
    Bytes bytes;           // of the whole table; the walk owns them until the next batch
    bool changed = false;  // store() writes it
  };

  // A batch that fits the processor's cache, for what only looks.
  static constexpr std::uint64_t small_batch_bytes = 512 << 10;

  // `l1` is in host byte order. Storage and table must outlive the walk. `batch_bytes` of tables are loaded at a time.
  TableWalk(Storage& storage, const format::Geometry& geometry, const std::vector<std::uint64_t>& l1,
            std::uint64_t batch_bytes = table_batch_bytes)
      : storage_(storage),
        geometry_(geometry),
        l1_(l1),
        batch_bytes_(batch_bytes),
        end_bytes_(round_up(storage.size_bytes(), geometry.cluster_size_bytes())) {}

  // Loads the next tables, many at a time, several reads in flight; none are left when tables() is empty.
  // Errors: corrupt (an L1 entry that cannot be followed), I/O.
  Task<Result<void>> next();
  std::vector<Table>& tables() { return tables_; }

  // Writes the changed tables of this batch. Not synced.
  Task<Result<void>> store();

  // Entry `index` of a table. Errors: corrupt (it breaks a rule, or leads behind the end of the file).
  Result<format::L2Entry> entry(const Table& table, std::uint64_t index) const;

  // The host clusters that it refers to, and whether they are a cluster of its own rather than payload in others.
  // Inline for what nearly all entries are: empty, or a plain cluster.
  struct Reference {
    ClusterRun clusters{0, 0};
    bool own = false;
  };
  Result<Reference> reference(const Table& table, std::uint64_t index) const {
    const std::uint64_t word = load_be64(raw(table, index)) & ~format::entry_copied_flag;
    if (word == 0) return Reference{};
    const bool plain = (word & (~format::entry_offset_mask | geometry_.cluster_mask())) == 0;
    if (plain && word < end_bytes_) [[likely]]
      return Reference{{word >> geometry_.cluster_bits, 1}, true};
    return other_reference(table, index);
  }
  std::byte* raw(const Table& table, std::uint64_t index) const {
    return table.bytes.data() + index * geometry_.l2_entry_bytes();
  }

 private:
  Result<Reference> other_reference(const Table& table, std::uint64_t index) const;
  Result<void> choose_batch();

  Storage& storage_;
  const format::Geometry geometry_;
  const std::vector<std::uint64_t>& l1_;
  const std::uint64_t batch_bytes_;
  const std::uint64_t end_bytes_;  // of the file's last cluster
  std::uint64_t next_index_ = 0;
  Buffer buffer_{0};
  std::vector<Table> tables_;
};

}  // namespace byre
