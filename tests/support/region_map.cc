#include "support/region_map.h"

#include <algorithm>

#include "base/endian.h"
#include "format/entry.h"
#include "format/header.h"
#include "format/snapshot_table.h"

namespace byre::test {

std::string_view region_name(RegionKind kind) {
  constexpr std::string_view names[] = {"header",   "refcount table", "refcount block", "L1 table",
                                        "L2 table", "data",           "payload",        "snapshot table"};
  return names[static_cast<std::size_t>(kind)];
}

RegionMap::RegionMap(ConstBytes image) : image_(image) {
  const auto header = format::decode_header(image_.first(std::min<std::size_t>(image_.size(), 2 << 20)), image_.size(),
                                            format::HeaderUse::read);
  if (!header) return;
  geometry_ = header->geometry();
  owners_.resize(geometry_.clusters_for(image_.size()));
  own(HostOffset(0), 1, {RegionKind::header});
  walk_refcounts(header->refcount_table, header->refcount_table_clusters);
  walk_l1(header->l1_table, header->l1_entries, 0);
  if (header->snapshot_count == 0 || header->snapshot_table.bytes >= image_.size()) return;
  const auto snapshots =
      format::decode_snapshot_table(image_.subspan(header->snapshot_table.bytes), header->snapshot_count);
  if (!snapshots) return;
  own(header->snapshot_table, format::stored_snapshot_table_bytes(*snapshots), {RegionKind::snapshot_table});
  unsigned number = 0;
  for (const auto& snapshot : *snapshots) walk_l1(snapshot.l1_table, snapshot.l1_entries, ++number);
}

const std::vector<Region>& RegionMap::owners(std::uint64_t cluster) const {
  static const std::vector<Region> none;
  return cluster < owners_.size() ? owners_[cluster] : none;
}

// Snapshots share L2 tables and data with one another and with the active disk; payloads share clusters. Everything
// else has one owner, and one disk refers to a table or data cluster once.
std::uint64_t RegionMap::first_shared_wrongly() const {
  const auto wrong = [](const std::vector<Region>& all) {
    for (std::size_t i = 1; i < all.size(); ++i) {
      if (all[i].kind != all[0].kind) return true;
      if (all[i].kind == RegionKind::payload) continue;
      if (all[i].kind != RegionKind::l2_table && all[i].kind != RegionKind::data) return true;
      for (std::size_t j = 0; j < i; ++j) {
        if (all[i].snapshot == all[j].snapshot || all[i].guest != all[j].guest) return true;
      }
    }
    return false;
  };
  return static_cast<std::uint64_t>(std::ranges::find_if(owners_, wrong) - owners_.begin());
}

std::uint64_t RegionMap::word(std::uint64_t at) const {
  return at + 8 <= image_.size() ? load_be64(image_.data() + at) : 0;
}

void RegionMap::own(HostOffset at, std::uint64_t length_bytes, Region region) {
  const std::uint64_t last = geometry_.cluster_index(at + (length_bytes - 1));
  for (std::uint64_t cluster = geometry_.cluster_index(at); cluster <= last; ++cluster) {
    if (cluster < owners_.size()) owners_[cluster].push_back(region);
  }
}

void RegionMap::walk_refcounts(HostOffset table, std::uint64_t clusters) {
  own(table, clusters << geometry_.cluster_bits, {RegionKind::refcount_table});
  for (std::uint64_t i = 0; i < clusters * geometry_.refcount_table_entries_per_cluster(); ++i) {
    const auto block = format::decode_refcount_table_entry(geometry_, word(table.bytes + i * 8));
    if (block && block->bytes != 0) own(*block, geometry_.cluster_size_bytes(), {RegionKind::refcount_block, i});
  }
}

void RegionMap::walk_l1(HostOffset table, std::uint64_t entries, unsigned snapshot) {
  if (entries == 0) return;
  own(table, entries * 8, {RegionKind::l1_table, 0, snapshot});
  for (std::uint64_t i = 0; i < entries; ++i) {
    const auto entry = format::decode_l1_entry(geometry_, word(table.bytes + i * 8));
    if (!entry || entry->l2_table.bytes == 0) continue;
    own(entry->l2_table, geometry_.cluster_size_bytes(), {RegionKind::l2_table, i, snapshot});
    walk_l2(entry->l2_table, i, snapshot);
  }
}

void RegionMap::walk_l2(HostOffset table, std::uint64_t l1_index, unsigned snapshot) {
  for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
    std::byte raw[16] = {};
    store_be64(raw, word(table.bytes + i * geometry_.l2_entry_bytes()));
    const auto entry = format::decode_l2_entry(geometry_, raw);
    if (!entry) continue;
    const std::uint64_t guest = l1_index * geometry_.l2_entries() + i;
    if (entry->kind == format::ClusterKind::compressed) {
      own(entry->compressed.offset, entry->compressed.length_bytes, {RegionKind::payload, guest, snapshot});
    } else if (entry->has_host_cluster()) {
      own(entry->host, geometry_.cluster_size_bytes(), {RegionKind::data, guest, snapshot});
    }
  }
}

}  // namespace byre::test
