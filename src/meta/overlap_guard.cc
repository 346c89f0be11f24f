// Contiguous tables are a short list of ranges; L2 tables and refcount blocks, one cluster each, are a hash map. What
// it leaves out: L2 tables that only snapshots reach (finding them needs disk reads; the refcount keeps them from being
// handed out).

#include "meta/overlap_guard.h"

#include <algorithm>

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
    case MetadataKind::encryption_header: return "encryption header";
  }
  return "metadata";
}

std::optional<MetadataKind> OverlapGuard::at(std::uint64_t cluster) const {
  for (const Region& region : regions_) {
    if (cluster >= region.first && cluster - region.first < region.count) return region.kind;
  }
  const auto found = single_.find(cluster);
  return found == single_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<MetadataKind> OverlapGuard::add(MetadataKind kind, std::uint64_t first_cluster, std::uint64_t count) {
  if (kind == MetadataKind::l2_table || kind == MetadataKind::refcount_block) {
    if (const auto taken = at(first_cluster)) return taken;
    single_.emplace(first_cluster, kind);
    return std::nullopt;
  }
  for (const Region& region : regions_) {
    if (first_cluster < region.first + region.count && region.first < first_cluster + count) return region.kind;
  }
  for (const auto& [cluster, single_kind] : single_) {
    if (cluster >= first_cluster && cluster - first_cluster < count) return single_kind;
  }
  if (count > 0) regions_.push_back({first_cluster, count, kind});
  return std::nullopt;
}

void OverlapGuard::remove(std::uint64_t first_cluster, std::uint64_t count) {
  if (count == 1 && single_.erase(first_cluster) == 1) return;
  std::erase_if(regions_, [&](const Region& r) { return r.first == first_cluster && r.count == count; });
}

}  // namespace byre::meta
