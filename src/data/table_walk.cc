// The tables of a batch come in the order of their L1 entries; those that lie one behind the other in the file are one
// request.
//
// Leaves out: who else refers to a table. A table that two entries of one L1 table name is refused when the image is
// opened for writing.

#include "data/table_walk.h"

#include <algorithm>

#include "base/math.h"
#include "base/text.h"
#include "data/batch_io.h"

namespace byre {
Result<HostOffset> find_l2_table(const format::Geometry& geometry, std::uint64_t raw, std::uint64_t index,
                                 std::uint64_t end_bytes) {
  const auto entry = format::decode_l1_entry(geometry, raw);
  if (!entry) {
    return fail(ErrorCode::corrupt, "L1 entry {} {:#x}: {}", index, raw, format::describe(entry.error()));
  }
  const HostOffset at = entry->l2_table;
  if (at.bytes == 0 || fits_within(at.bytes, geometry.cluster_size_bytes(), end_bytes)) return at;
  return fail(ErrorCode::corrupt, "L1 entry {}: the L2 table at {:#x} lies behind the end of the file ({:#x})", index,
              at.bytes, end_bytes);
}

Result<void> TableWalk::choose_batch() {
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  const std::uint64_t most = std::max<std::uint64_t>(1, batch_bytes_ / cluster_size);
  tables_.clear();
  for (; next_index_ < l1_.size() && tables_.size() < most; ++next_index_) {
    BYRE_TRY(const HostOffset at, find_l2_table(geometry_, l1_[next_index_], next_index_, end_bytes_));
    if (at.bytes != 0) tables_.push_back({next_index_, at, {}, false});
  }
  return {};
}

Task<Result<void>> TableWalk::next() {
  BYRE_CO_CHECK(choose_batch());
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  if (buffer_.bytes().size() < tables_.size() * cluster_size) buffer_ = Buffer(tables_.size() * cluster_size);
  std::vector<BatchPart> parts;
  for (std::size_t i = 0; i < tables_.size(); ++i) {
    tables_[i].bytes = buffer_.bytes().subspan(i * cluster_size, cluster_size);
    parts.push_back({tables_[i].at.bytes, tables_[i].bytes});
  }
  co_return co_await read_batch(storage_, std::move(parts));
}

Task<Result<void>> TableWalk::store() {
  std::vector<BatchPart> parts;
  for (const Table& table : tables_) {
    if (table.changed) parts.push_back({table.at.bytes, table.bytes});
  }
  co_return co_await write_batch(storage_, std::move(parts));
}

Result<format::L2Entry> TableWalk::entry(const Table& table, std::uint64_t index) const {
  const auto decoded = format::decode_l2_entry(geometry_, raw(table, index));
  const std::uint64_t guest = geometry_.guest_offset(table.l1_index, index).bytes;
  if (!decoded) {
    return fail(ErrorCode::corrupt, "the L2 entry of guest offset {:#x}: {}", guest, format::describe(decoded.error()));
  }
  const bool inside = decoded->has_host_cluster()
                          ? fits_within(decoded->host.bytes, geometry_.cluster_size_bytes(), end_bytes_)
                          : fits_within(decoded->compressed.offset.bytes, decoded->compressed.length_bytes, end_bytes_);
  if (inside) return *decoded;
  return fail(ErrorCode::corrupt, "the L2 entry of guest offset {:#x} leads behind the end of the file ({:#x})", guest,
              storage_.size_bytes());
}

Result<TableWalk::Reference> TableWalk::other_reference(const Table& table, std::uint64_t index) const {
  BYRE_TRY(const format::L2Entry decoded, entry(table, index));
  if (decoded.has_host_cluster()) return Reference{{geometry_.cluster_index(decoded.host), 1}, true};
  if (decoded.kind != format::ClusterKind::compressed) return Reference{};
  const std::uint64_t first = geometry_.cluster_index(decoded.compressed.offset);
  const HostOffset last = decoded.compressed.offset + (decoded.compressed.length_bytes - 1);
  return Reference{{first, geometry_.cluster_index(last) - first + 1}, false};
}

}  // namespace byre
