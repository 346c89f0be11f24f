// Reads the active L1 table and every L2 table once, one at a time. A fault ends the count instead of being reported:
// that is what a check is for.
#include "ops/cluster_use.h"

#include <algorithm>

#include "base/endian.h"
#include "base/math.h"
#include "format/entry.h"
#include "format/limits.h"

namespace byre::ops {

namespace {

constexpr std::uint64_t max_l2_bytes = std::uint64_t{64} << 20;
constexpr std::uint64_t max_l2_tables = 16384;

class Counter {
 public:
  explicit Counter(const format::Geometry& geometry) : geometry_(geometry) {}

  // False if the table breaks a rule. At most `clusters` entries count: the rest lies behind the end of the disk.
  bool add_table(ConstBytes table, std::uint64_t clusters) {
    const std::uint64_t count = std::min(clusters, geometry_.l2_entries());
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto entry = format::decode_l2_entry(geometry_, table.data() + i * geometry_.l2_entry_bytes());
      if (!entry) return false;
      add_entry(*entry);
    }
    return true;
  }
  ClusterUse& use() { return use_; }

 private:
  void add_entry(const format::L2Entry& entry) {
    using format::ClusterKind;
    const bool compressed = entry.kind == ClusterKind::compressed;
    if (entry.kind == ClusterKind::zero_plain || entry.kind == ClusterKind::zero_allocated) ++use_.zero;
    if (compressed) ++use_.compressed;
    if (!compressed && !entry.has_host_cluster()) return;
    ++use_.allocated;
    if (compressed || (expected_ && *expected_ != entry.host)) ++use_.fragmented;
    if (!compressed) expected_ = entry.host + geometry_.cluster_size_bytes();
  }

  format::Geometry geometry_;
  ClusterUse use_;
  std::optional<HostOffset> expected_;  // where the next cluster would follow the last one
};

}  // namespace

Task<std::optional<ClusterUse>> count_clusters(Storage& storage, const format::Header& header) {
  const format::Geometry geometry = header.geometry();
  const std::uint64_t entries = geometry.required_l1_entries(header.virtual_size_bytes);
  Counter counter(geometry);
  counter.use().total = geometry.clusters_for(header.virtual_size_bytes);
  if (!fits_within(header.l1_table.bytes, entries * 8, storage.size_bytes())) co_return std::nullopt;
  Buffer l1(entries * 8);
  const Bytes l1_bytes = l1.bytes();
  const auto l1_read = co_await read_exactly(storage, header.l1_table.bytes, l1_bytes);
  if (!l1_read) co_return std::nullopt;

  const std::uint64_t budget = std::min(max_l2_tables, max_l2_bytes >> geometry.cluster_bits);
  Buffer l2(geometry.cluster_size_bytes());
  const Bytes l2_bytes = l2.bytes();
  std::uint64_t read = 0;
  for (std::uint64_t i = 0; i < entries; ++i) {
    const auto entry = format::decode_l1_entry(geometry, load_be64(l1.data() + i * 8));
    if (!entry) co_return std::nullopt;
    if (entry->l2_table.bytes == 0) continue;
    if (++read > budget) co_return std::nullopt;
    const auto l2_read = co_await read_exactly(storage, entry->l2_table.bytes, l2_bytes);
    if (!l2_read) co_return std::nullopt;
    if (!counter.add_table(l2_bytes, counter.use().total - i * geometry.l2_entries())) co_return std::nullopt;
  }
  co_return counter.use();
}

}  // namespace byre::ops
