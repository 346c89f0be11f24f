// Loading: the header, then the tables that stay in memory, each judged before it is followed. A snapshot is the same
// image with another L1 table and another size.

#include "data/load.h"

#include <algorithm>

#include "base/endian.h"
#include "base/text.h"
#include "data/bitmaps.h"
#include "format/limits.h"

namespace byre {

namespace {

Task<Result<Buffer>> read_whole(Storage& storage, HostOffset at, std::uint64_t length_bytes) {
  Buffer buffer(length_bytes);
  const Bytes target = buffer.bytes();
  BYRE_CO_CHECK(co_await read_exactly(storage, at.bytes, target));
  co_return buffer;
}

}  // namespace

Task<Result<std::vector<std::uint64_t>>> read_table(Storage& storage, HostOffset at, std::uint64_t entries) {
  BYRE_CO_TRY(const Buffer bytes, co_await read_whole(storage, at, entries * 8));
  std::vector<std::uint64_t> table(entries);
  for (std::uint64_t i = 0; i < entries; ++i) table[i] = load_be64(bytes.data() + i * 8);
  co_return table;
}

Task<Result<format::Header>> read_header(Storage& storage, format::HeaderUse use) {
  const std::uint64_t file_size = storage.size_bytes();
  BYRE_CO_TRY(const Buffer peek, co_await read_whole(storage, HostOffset(0),
                                                     std::min<std::uint64_t>(file_size, format::header_peek_bytes)));
  BYRE_CO_TRY(const unsigned cluster_bits, format::peek_cluster_bits(peek.bytes()));
  const std::uint64_t length = std::min(file_size, std::uint64_t{1} << cluster_bits);
  BYRE_CO_TRY(const Buffer start, co_await read_whole(storage, HostOffset(0), length));
  co_return format::decode_header(start.bytes(), file_size, use);
}

// The table's length stands nowhere: read more until the decoder is satisfied, or the file or the limit ends.
Task<Result<std::vector<format::Snapshot>>> read_snapshots(Storage& storage, const format::Header& header) {
  if (header.snapshot_count == 0) co_return std::vector<format::Snapshot>();
  const std::uint64_t start = header.snapshot_table.bytes;
  if (start >= storage.size_bytes()) {
    co_return fail(ErrorCode::corrupt, "the snapshot table at {:#x} lies behind the end of the file", start);
  }
  const std::uint64_t available = std::min(storage.size_bytes() - start, format::max_snapshot_table_bytes);
  std::uint64_t length = std::min(available, header.snapshot_count * format::snapshot_entry_min_bytes);
  for (;;) {
    BYRE_CO_TRY(const Buffer table, co_await read_whole(storage, header.snapshot_table, length));
    BYRE_CO_TRY(const std::uint64_t needed, format::snapshot_table_bytes_needed(table.bytes(), header.snapshot_count));
    if (needed <= length || length == available) {
      co_return format::decode_snapshot_table(table.bytes(), header.snapshot_count);
    }
    length = std::min(available, std::max(needed, length * 2));
  }
}

Result<void> check_usable(const format::Snapshot& snapshot, const format::Header& header,
                          std::uint64_t file_size_bytes) {
  const format::Geometry geometry = header.geometry();
  BYRE_CHECK(
      format::check_snapshot_l1(snapshot, geometry, header.virtual_size_bytes, header.l1_table, file_size_bytes));
  return format::check_snapshot_disk_size(snapshot, geometry);
}

Result<std::size_t> find_snapshot(const std::vector<format::Snapshot>& snapshots, const std::string& wanted,
                                  SnapshotKey key) {
  const std::pair<SnapshotKey, std::string format::Snapshot::*> keys[] = {{SnapshotKey::id, &format::Snapshot::id},
                                                                          {SnapshotKey::name, &format::Snapshot::name}};
  for (const auto& [other, member] : keys) {
    if (key != SnapshotKey::id_or_name && key != other) continue;
    const auto found = std::ranges::find(snapshots, wanted, member);
    if (found != snapshots.end()) return static_cast<std::size_t>(found - snapshots.begin());
  }
  const std::string_view what = key == SnapshotKey::id ? "id" : key == SnapshotKey::name ? "name" : "id or name";
  return fail(ErrorCode::not_found, "there is no snapshot with {} '{}'", what, escape_untrusted(wanted));
}

namespace {

std::vector<meta::MetadataRegion> metadata_regions(const format::Header& header,
                                                   const std::vector<format::Snapshot>& snapshots,
                                                   const Bitmaps& bitmaps) {
  using meta::MetadataKind;
  const std::uint64_t cluster_size = header.geometry().cluster_size_bytes();
  std::vector<meta::MetadataRegion> regions = {
      {MetadataKind::header, HostOffset(0), cluster_size},
      {MetadataKind::l1_table, header.l1_table, std::uint64_t{header.l1_entries} * 8},
      {MetadataKind::refcount_table, header.refcount_table, header.refcount_table_clusters * cluster_size},
  };
  if (!snapshots.empty()) {
    regions.push_back(
        {MetadataKind::snapshot_table, header.snapshot_table, format::stored_snapshot_table_bytes(snapshots)});
  }
  for (const format::Snapshot& snapshot : snapshots) {
    regions.push_back({MetadataKind::snapshot_l1_table, snapshot.l1_table, std::uint64_t{snapshot.l1_entries} * 8});
  }
  if (header.has_valid_bitmaps()) {
    regions.push_back({MetadataKind::bitmap_directory, header.bitmaps->directory, header.bitmaps->directory_bytes});
  }
  for (const format::BitmapEntry& bitmap : bitmaps.entries) {
    regions.push_back({MetadataKind::bitmap_table, bitmap.table, std::uint64_t{bitmap.table_entries} * 8});
  }
  return regions;
}

// Enough for every L2 entry of the disk and the refcounts of as many clusters, at least 1 MiB, at most 32 MiB.
std::size_t cache_size(const format::Geometry& geometry, std::uint64_t size_bytes, std::uint64_t wanted_bytes) {
  constexpr std::uint64_t least = 1 << 20;
  constexpr std::uint64_t most = 32 << 20;
  if (wanted_bytes > 0) return wanted_bytes;
  const std::uint64_t clusters = geometry.clusters_for(size_bytes);
  return std::clamp(clusters * geometry.l2_entry_bytes() + clusters * geometry.refcount_bits() / 8, least, most);
}

}  // namespace

Task<Result<LoadedImage>> load_image(Storage& storage, format::Header header, LoadOptions options) {
  const format::Geometry geometry = header.geometry();
  meta::MetadataParts parts;
  parts.geometry = geometry;
  parts.has_backing = !header.backing_name.empty();
  parts.writable = options.writable;
  parts.file_size_bytes = storage.size_bytes();
  HostOffset l1_table = header.l1_table;
  std::uint64_t l1_entries = header.l1_entries;
  LoadedImage image;
  image.size_bytes = header.virtual_size_bytes;
  BYRE_CO_TRY(Bitmaps bitmaps, co_await read_bitmaps(storage, header));
  if (options.writable || options.snapshot) {
    BYRE_CO_TRY(const std::vector<format::Snapshot> snapshots, co_await read_snapshots(storage, header));
    parts.regions = metadata_regions(header, snapshots, bitmaps);
    parts.bitmap_data = std::move(bitmaps.data);
    if (options.snapshot) {
      BYRE_CO_TRY(const std::size_t index, find_snapshot(snapshots, *options.snapshot, options.snapshot_key));
      options.state = snapshots[index];
    }
  }
  if (options.state) {
    BYRE_CO_CHECK(check_usable(*options.state, header, storage.size_bytes()));
    l1_table = options.state->l1_table;
    l1_entries = options.state->l1_entries;
    image.size_bytes = options.state->disk_size_bytes.value_or(image.size_bytes);
  }
  BYRE_CO_TRY(std::vector<std::uint64_t> l1, co_await read_table(storage, l1_table, l1_entries));
  parts.l1 = meta::ResidentTable(l1_table, std::move(l1));
  parts.cache_size_bytes = cache_size(geometry, image.size_bytes, options.cache_size_bytes);
  parts.refcount_table_clusters = header.refcount_table_clusters;
  if (options.writable) {
    const std::uint64_t entries = header.refcount_table_clusters * geometry.refcount_table_entries_per_cluster();
    storage.announce(AccessEvent::reftable_load);
    BYRE_CO_TRY(std::vector<std::uint64_t> table, co_await read_table(storage, header.refcount_table, entries));
    parts.refcount_table = meta::ResidentTable(header.refcount_table, std::move(table));
  }
  BYRE_CO_TRY(image.metadata, meta::Metadata::create(std::move(parts)));
  image.header = std::move(header);
  co_return image;
}

}  // namespace byre
