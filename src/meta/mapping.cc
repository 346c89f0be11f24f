// A lookup decodes the first entry, then takes in the entries that follow as long as they continue it and lie in the
// same page: one hash lookup for up to 512 clusters. Most of them are its word, moved on, and are not decoded. Runs of
// empty L1 entries are one extent without touching a page. Subclusters are resolved within one cluster, without merging
// clusters.

#include "meta/mapping.h"

#include <algorithm>

#include "base/math.h"
#include "base/text.h"
#include "format/limits.h"

namespace byre::meta {
namespace {

using format::ClusterKind;

constexpr std::uint64_t max_pages_per_load = 512;

}  // namespace

Outcome<format::L1Entry> Mapping::l1_entry(std::uint64_t index, HostOffset host_end) const {
  const auto entry = format::decode_l1_entry(geometry_, l1_[index]);
  if (!entry) {
    return std::unexpected(
        Stop::corrupted(Error(ErrorCode::corrupt, fmt::format("L1 entry {} is {:#x}: {}", index, l1_[index],
                                                              format::describe(entry.error())))));
  }
  if (entry->l2_table.bytes != 0 &&
      !fits_within(entry->l2_table.bytes, geometry_.cluster_size_bytes(), host_end.bytes)) {
    return std::unexpected(Stop::failed(
        Error(ErrorCode::corrupt, fmt::format("L1 entry {} points to an L2 table at {:#x}, behind the end of the file",
                                              index, entry->l2_table.bytes))));
  }
  return *entry;
}

MappedExtent Mapping::unallocated_run(GuestOffset at, std::uint64_t max_length_bytes) const {
  std::uint64_t index = geometry_.l1_index(at);
  std::uint64_t length = geometry_.guest_bytes_per_l2() - at.bytes % geometry_.guest_bytes_per_l2();
  while (length < max_length_bytes && index + 1 < l1_.size() && l1_[index + 1] == 0) {
    ++index;
    length += geometry_.guest_bytes_per_l2();
  }
  MappedExtent extent;
  extent.guest = at;
  extent.length_bytes = std::min(length, max_length_bytes);
  return extent;
}

Outcome<EntryRun> Mapping::entries(GuestOffset at, std::uint64_t clusters, HostOffset host_end) {
  BYRE_TRY(const format::L1Entry l1, l1_entry(geometry_.l1_index(at), host_end));
  const std::uint64_t page_size = cache_.page_size_bytes();
  const std::uint64_t entry_bytes = geometry_.l2_entry_bytes();
  const std::uint64_t in_table = geometry_.l2_index(at) * entry_bytes;
  const std::uint64_t in_page = in_table % page_size;
  const HostOffset page_at = l1.l2_table + (in_table - in_page);
  if (Page* page = cache_.find(page_at)) {
    const std::uint64_t count = std::min(clusters, (page_size - in_page) / entry_bytes);
    return EntryRun{{page, page->bytes.get() + in_page}, count, entry_bytes};
  }
  const std::uint64_t to_table_end = (geometry_.cluster_size_bytes() - (in_table - in_page)) / page_size;
  const std::uint64_t wanted = ceil_div(in_page + clusters * entry_bytes, page_size);
  const auto count = static_cast<std::uint32_t>(std::min({to_table_end, wanted, max_pages_per_load}));
  return std::unexpected(Stop::missing({page_at, PageKind::l2, count}));
}

Outcome<format::L2Entry> Mapping::decode(const EntrySlot& slot, GuestOffset at) const {
  const auto entry = format::decode_l2_entry(geometry_, slot.raw);
  if (entry) [[likely]]
    return *entry;
  return std::unexpected(
      Stop::corrupted(Error(ErrorCode::corrupt, fmt::format("L2 entry of guest offset {:#x}: {}", at.bytes,
                                                            format::describe(entry.error())))));
}

void Mapping::store(const EntrySlot& slot, const format::L2Entry& entry) {
  format::encode_l2_entry(geometry_, entry, slot.raw);
  cache_.mark_dirty(*slot.page);
}

Outcome<void> Mapping::check_pointer(const format::L2Entry& entry, GuestOffset at, HostOffset host_end) const {
  const bool compressed = entry.kind == ClusterKind::compressed;
  const HostOffset from = compressed ? entry.compressed.offset : entry.host;
  const std::uint64_t length = compressed ? entry.compressed.length_bytes : geometry_.cluster_size_bytes();
  if (fits_within(from.bytes, length, host_end.bytes)) [[likely]]
    return {};
  return std::unexpected(Stop::failed(Error(
      ErrorCode::corrupt, fmt::format("guest offset {:#x} is mapped to host offset {:#x}, behind the end of the file",
                                      at.bytes, from.bytes))));
}

bool Mapping::continues(const MappedExtent& extent, const format::L2Entry& first, const format::L2Entry& next,
                        std::uint64_t clusters) const {
  if (next.kind != extent.kind || next.copied != first.copied) return false;
  if (next.kind != ClusterKind::normal && next.kind != ClusterKind::zero_allocated) return true;
  return next.host == first.host + clusters * geometry_.cluster_size_bytes();
}

std::uint64_t Mapping::count_alike(const EntryRun& run, const format::L2Entry& first, HostOffset host_end) const {
  if (first.kind == ClusterKind::compressed) return 1;
  const bool stored = first.has_host_cluster();
  const std::uint64_t room = std::min(host_end.bytes, format::max_host_offset) - first.host.bytes;
  const std::uint64_t most = stored ? std::min(run.count, room >> geometry_.cluster_bits) : run.count;
  const std::uint64_t step = stored ? geometry_.cluster_size_bytes() : 0;
  const std::uint64_t word = load_be64(run[0].raw);
  std::uint64_t count = 1;
  while (count < most && load_be64(run[count].raw) == word + count * step) ++count;
  return count;
}

Outcome<MappedExtent> Mapping::lookup(GuestOffset at, std::uint64_t max_length_bytes, HostOffset host_end) {
  const std::uint64_t l1_index = geometry_.l1_index(at);
  if (l1_index >= l1_.size() || l1_[l1_index] == 0) return unallocated_run(at, max_length_bytes);
  BYRE_TRY(const format::L1Entry l1, l1_entry(l1_index, host_end));
  if (l1.l2_table.bytes == 0) return unallocated_run(at, max_length_bytes);
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  const std::uint64_t in_cluster = at.bytes % cluster_size;
  const std::uint64_t want_clusters = ceil_div(in_cluster + max_length_bytes, cluster_size);
  BYRE_TRY(const EntryRun run, entries(at, want_clusters, host_end));
  BYRE_TRY(const format::L2Entry first, decode(run[0], at));
  const bool stored = first.kind == ClusterKind::normal || first.kind == ClusterKind::zero_allocated;
  if (stored || first.kind == ClusterKind::compressed) BYRE_CHECK(check_pointer(first, at, host_end));
  if (geometry_.extended_l2 && first.kind != ClusterKind::compressed) {
    return subcluster_extent(first, at, max_length_bytes);
  }

  MappedExtent extent{at, cluster_size - in_cluster, first.kind, first.copied, {}, first.compressed};
  if (stored) extent.host = first.host + in_cluster;
  std::uint64_t count = count_alike(run, first, host_end);
  for (; count < run.count && first.kind != ClusterKind::compressed; ++count) {
    const auto next = format::decode_l2_entry(geometry_, run[count].raw);
    if (!next || !continues(extent, first, *next, count)) break;
    if (stored && !check_pointer(*next, at, host_end)) break;
  }
  extent.length_bytes = std::min(extent.length_bytes + (count - 1) * cluster_size, max_length_bytes);
  return extent;
}

MappedExtent Mapping::subcluster_extent(const format::L2Entry& entry, GuestOffset at,
                                        std::uint64_t max_length_bytes) const {
  const std::uint64_t size = geometry_.subcluster_size_bytes();
  const unsigned index = geometry_.subcluster_index(at);
  const std::uint64_t length = format::subcluster_run_length(entry, index) * size - at.bytes % size;
  MappedExtent extent{at, std::min(length, max_length_bytes), ClusterKind::unallocated, entry.copied, {}, {}};
  switch (format::subcluster_kind(entry, index)) {
    case format::SubclusterKind::normal: extent.kind = ClusterKind::normal; break;
    case format::SubclusterKind::zero:
      extent.kind = entry.has_host_cluster() ? ClusterKind::zero_allocated : ClusterKind::zero_plain;
      break;
    default: break;
  }
  if (entry.has_host_cluster()) extent.host = entry.host + geometry_.cluster_offset_in(at);
  return extent;
}

}  // namespace byre::meta
