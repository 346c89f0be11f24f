// Contiguous tables are ranges in order (an image may have 65536 snapshots); L2 tables, refcount blocks and bitmap
// data, one cluster each, are a hash map. What it leaves out: L2 tables that only snapshots reach (finding them needs
// disk reads; the refcount keeps them from being handed out).

#include "meta/overlap_guard.h"

#include <algorithm>
#include <iterator>

namespace byre::meta {

std::string_view describe(MetadataKind kind) {
  switch (kind) {
    case MetadataKind::header: return "header";
    case MetadataKind::l1_table: return "active L1 table";
    case MetadataKind::l2_table: return "L2 table";
    case MetadataKind::refcount_table: return "refcount table";
    case MetadataKind::refcount_block: return "refcount block";
    case MetadataKind::snapshot_table: return "snapshot table";
    case MetadataKind::snapshot_l1_table: return "snapshot L1 table";
    case MetadataKind::bitmap_directory: return "bitmap directory";
    case MetadataKind::bitmap_table: return "bitmap table";
    case MetadataKind::bitmap_data: return "data of a bitmap";
    case MetadataKind::encryption_header: return "encryption header";
  }
  return "metadata";
}

std::optional<MetadataKind> OverlapGuard::at(std::uint64_t cluster) const {
  if (cluster < gap_.begin || cluster >= gap_.end) {
    const auto behind = regions_.upper_bound(cluster);
    Gap gap{0, behind == regions_.end() ? ~std::uint64_t{0} : behind->first};
    if (behind != regions_.begin()) {
      const auto& [first, region] = *std::prev(behind);
      if (cluster - first < region.count) return region.kind;
      gap.begin = first + region.count;
    }
    gap_ = gap;
  }
  const auto found = single_.find(cluster);
  return found == single_.end() ? std::nullopt : std::optional(found->second);
}

std::uint64_t OverlapGuard::end() const {
  std::uint64_t end = regions_.empty() ? 0 : regions_.rbegin()->first + regions_.rbegin()->second.count;
  for (const auto& [cluster, kind] : single_) end = std::max(end, cluster + 1);
  return end;
}

std::optional<MetadataKind> OverlapGuard::add(MetadataKind kind, std::uint64_t first_cluster, std::uint64_t count) {
  if (kind == MetadataKind::l2_table || kind == MetadataKind::refcount_block || kind == MetadataKind::bitmap_data) {
    if (const auto taken = at(first_cluster)) return taken;
    single_.emplace(first_cluster, kind);
    return std::nullopt;
  }
  if (count == 0) return std::nullopt;
  const auto behind = regions_.lower_bound(first_cluster + count);
  if (behind != regions_.begin()) {
    const auto& [first, region] = *std::prev(behind);
    if (first + region.count > first_cluster) return region.kind;
  }
  for (const auto& [cluster, single_kind] : single_) {
    if (cluster >= first_cluster && cluster - first_cluster < count) return single_kind;
  }
  regions_[first_cluster] = {count, kind};
  gap_ = {};
  return std::nullopt;
}

void OverlapGuard::remove(std::uint64_t first_cluster, std::uint64_t count) {
  if (count == 1 && single_.erase(first_cluster) == 1) return;
  const auto found = regions_.find(first_cluster);
  if (found != regions_.end() && found->second.count == count) regions_.erase(found);
}

}  // namespace byre::meta
