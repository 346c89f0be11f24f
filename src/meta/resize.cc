// What resizing asks of the tables. A longer L1 table goes to another place, and the cut that writes it switches the
// header; the old one is unlinked like any cluster. An L1 entry behind the end of the disk is emptied without touching
// its L2 table: every reference in it is unlinked, then the table itself, so that a shared table needs no copy.

#include "base/text.h"
#include "format/entry.h"
#include "meta/metadata.h"

namespace byre::meta {

using format::L2Entry;

Outcome<void> Metadata::grow_l1(std::uint64_t entries) {
  const std::uint64_t old_entries = mapping_.l1().size();
  if (entries <= old_entries) return {};
  const std::uint64_t clusters = geometry_.clusters_for(entries * 8);
  BYRE_TRY(const HostOffset at, allocator_.allocate_table(clusters));
  const std::uint64_t old_first = cluster_of(mapping_.l1().offset());
  const std::uint64_t old_clusters = geometry_.clusters_for(old_entries * 8);
  mapping_.l1().move_to(at, entries);
  l1_moved_ = true;
  guard_.remove(old_first, old_clusters);
  const auto taken = guard_.add(MetadataKind::l1_table, cluster_of(at), clusters);
  BYRE_ASSERT(!taken);
  const std::uint64_t stamp = leases_.stamp_unlink();
  for (std::uint64_t i = 0; i < old_clusters; ++i) drop(old_first + i, stamp, false, false);
  return {};
}

Outcome<void> Metadata::release_table(std::uint64_t l1_index, bool punch) {
  BYRE_TRY(const format::L1Entry old, mapping_.l1_entry(l1_index, host_end()));
  if (old.l2_table.bytes == 0) return {};
  std::vector<PagePin> pages;
  BYRE_CHECK(pin_table_pages(old.l2_table, pages));
  BYRE_TRY(const std::vector<L2Entry> entries, table_entries(l1_index));
  const std::uint64_t stamp = leases_.stamp_unlink();
  for (const L2Entry& entry : entries) unlink(entry, stamp, punch);
  mapping_.l1().set(l1_index, 0);
  guard_.remove(cluster_of(old.l2_table), 1);
  drop(cluster_of(old.l2_table), stamp, punch, true);
  return {};
}

Outcome<void> Metadata::give_back(HostOffset cluster) {
  BYRE_TRY(const std::uint64_t count, refcounts_.get(cluster_of(cluster), host_end()));
  if (count > 0) drop(cluster_of(cluster), leases_.stamp_unlink(), false, false);
  return {};
}

// The entries that refer to host clusters, each found fit to be unlinked. The table's pages are cached.
Outcome<std::vector<L2Entry>> Metadata::table_entries(std::uint64_t l1_index) {
  std::vector<L2Entry> entries;
  entries.reserve(geometry_.l2_entries());
  for (std::uint64_t i = 0; i < geometry_.l2_entries();) {
    const GuestOffset first = geometry_.guest_offset(l1_index, i);
    BYRE_TRY(const EntryRun in_page, mapping_.entries(first, geometry_.l2_entries() - i, host_end()));
    for (std::uint64_t at = 0; at < in_page.count; ++at, ++i) {
      if (in_page.is_empty(at)) continue;
      const GuestOffset guest = geometry_.guest_offset(l1_index, i);
      BYRE_TRY(const L2Entry entry, mapping_.decode(in_page[at], guest));
      if (!entry.has_host_cluster() && entry.kind != format::ClusterKind::compressed) continue;
      BYRE_CHECK(check_replaceable(entry, guest));
      entries.push_back(entry);
    }
  }
  return entries;
}

}  // namespace byre::meta
