// Opening: decide the format, decode the header, read the resident tables, then open what the image names, one layer
// after the other, until a layer names nothing. Nothing is written, and nothing is followed that the policy forbids.

#include <algorithm>

#include "base/endian.h"
#include "base/math.h"
#include "base/text.h"
#include "data/bitmaps.h"
#include "data/qcow2_disk.h"
#include "data/raw_disk.h"
#include "data/reference.h"
#include "data/repair.h"
#include "format/limits.h"
#include "format/snapshot_table.h"

namespace byre {
namespace {

using Opened = Result<std::unique_ptr<Disk>>;

// The layers above the one that is being opened.
struct Chain {
  std::vector<StorageIdentity> layers;
};

Task<Opened> open_layer(std::unique_ptr<Storage> storage, OpenOptions options, std::unique_ptr<Disk> backing,
                        Chain& chain);

Task<Result<Buffer>> read_whole(Storage& storage, HostOffset at, std::uint64_t length_bytes) {
  Buffer buffer(length_bytes);
  const Bytes target = buffer.bytes();
  BYRE_CO_CHECK(co_await read_exactly(storage, at.bytes, target));
  co_return buffer;
}

Task<Result<std::vector<std::uint64_t>>> read_table(Storage& storage, HostOffset at, std::uint64_t entries) {
  BYRE_CO_TRY(const Buffer bytes, co_await read_whole(storage, at, entries * 8));
  std::vector<std::uint64_t> table(entries);
  for (std::uint64_t i = 0; i < entries; ++i) table[i] = load_be64(bytes.data() + i * 8);
  co_return table;
}

Task<Result<std::string>> decide_format(Storage& storage, const OpenOptions& options) {
  if (options.format) {
    if (*options.format == "qcow2" || *options.format == "raw") co_return *options.format;
    co_return fail(ErrorCode::invalid_argument, "unknown format '{}': qcow2 and raw are known",
                   escape_untrusted(*options.format));
  }
  std::byte first[8] = {};
  const Bytes target(first);
  BYRE_CO_TRY(const std::size_t got, co_await storage.read(0, target));
  if (got == sizeof first && format::is_qcow2_magic(first)) co_return "qcow2";
  if (options.writable) {
    co_return fail(ErrorCode::refused,
                   "the format is not recorded in the file and is not guessed for writing: pass -f raw if it is raw");
  }
  co_return "raw";
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

// What the header allows but this engine does not do (yet).
Result<void> check_supported(const format::Header& header, bool writable) {
  if (header.crypt_method != format::CryptMethod::none) {
    return fail(ErrorCode::unsupported, "the image is encrypted, which is not supported yet");
  }
  if (header.has_data_file()) {
    return fail(ErrorCode::unsupported, "the image uses an external data file, which is not supported yet");
  }
  if (writable && header.geometry().extended_l2) {
    return fail(ErrorCode::unsupported, "the image uses extended L2 entries (subclusters), which can only be read yet");
  }
  return {};
}

Result<bool> uses_lazy_refcounts(const format::Header& header, const OpenOptions& options) {
  if (header.version < 3) {
    if (!options.lazy_refcounts.value_or(false)) return false;
    return fail(ErrorCode::invalid_argument,
                "lazy refcounts need version 3, but the image is of version 2 (compat=0.10)");
  }
  return options.lazy_refcounts.value_or((header.compatible_features & format::compatible::lazy_refcounts) != 0);
}

Task<Result<std::vector<format::Snapshot>>> read_snapshots(Storage& storage, const format::Header& header) {
  if (header.snapshot_count == 0) co_return std::vector<format::Snapshot>();
  const std::uint64_t available = storage.size_bytes() - header.snapshot_table.bytes;
  std::uint64_t length = std::min<std::uint64_t>(available, header.snapshot_count * format::snapshot_entry_min_bytes);
  for (;;) {
    BYRE_CO_TRY(const Buffer table, co_await read_whole(storage, header.snapshot_table, length));
    BYRE_CO_TRY(const std::uint64_t needed, format::snapshot_table_bytes_needed(table.bytes(), header.snapshot_count));
    if (needed <= length || length == available) {
      co_return format::decode_snapshot_table(table.bytes(), header.snapshot_count);
    }
    length = std::min(available, std::max(needed, length * 2));
  }
}

Result<format::Snapshot> find_snapshot(const std::vector<format::Snapshot>& snapshots, const std::string& wanted,
                                       SnapshotKey key) {
  const std::pair<SnapshotKey, std::string format::Snapshot::*> keys[] = {{SnapshotKey::id, &format::Snapshot::id},
                                                                          {SnapshotKey::name, &format::Snapshot::name}};
  for (const auto& [other, member] : keys) {
    if (key != SnapshotKey::id_or_name && key != other) continue;
    const auto found = std::ranges::find(snapshots, wanted, member);
    if (found != snapshots.end()) return *found;
  }
  const std::string_view what = key == SnapshotKey::id ? "id" : key == SnapshotKey::name ? "name" : "id or name";
  return fail(ErrorCode::not_found, "there is no snapshot with {} '{}'", what, escape_untrusted(wanted));
}

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

Task<Opened> open_backing(const Storage& image, const format::Header& header, const OpenOptions& options,
                          Chain& chain) {
  OpenOptions below = options;
  below.writable = false;
  below.snapshot.reset();
  below.backing.format.reset();
  below.lazy_refcounts.reset();
  below.format = header.backing_format ? header.backing_format : options.backing.format;
  if (!below.format) {
    co_return fail(ErrorCode::refused,
                   "the image does not record the format of its backing file '{}', and it is not guessed: name it with "
                   "--backing-format",
                   escape_untrusted(header.backing_name));
  }
  if (chain.layers.size() > options.backing.max_depth) {
    co_return fail(ErrorCode::refused, "the backing chain is deeper than {} files", options.backing.max_depth);
  }
  BYRE_CO_TRY(const std::string path, resolve_reference(image.name(), header.backing_name));
  FileOptions file;
  file.cache = options.cache;
  file.locking = options.force_share ? Locking::force_share : Locking::enforced;
  BYRE_CO_TRY(std::unique_ptr<Storage> storage, open_reference(path, options.backing, file));
  if (std::ranges::find(chain.layers, storage->identity()) != chain.layers.end()) {
    co_return fail(ErrorCode::refused, "the backing chain is a loop: '{}' comes twice", escape_untrusted(path));
  }
  co_return co_await open_layer(std::move(storage), std::move(below), nullptr, chain);
}

Task<Opened> open_qcow2(std::unique_ptr<Storage> storage, OpenOptions options, std::unique_ptr<Disk> backing,
                        Chain& chain) {
  const bool writable = options.writable;
  BYRE_CO_TRY(format::Header header,
              co_await read_header(*storage, writable ? format::HeaderUse::write : format::HeaderUse::read));
  BYRE_CO_CHECK(check_supported(header, writable));
  BYRE_CO_TRY(const bool lazy_refcounts, uses_lazy_refcounts(header, options));
  if (writable && header.is_dirty()) {
    BYRE_CO_CHECK(co_await repair_dirty_image(*storage, options.log));
    BYRE_CO_TRY(header, co_await read_header(*storage, format::HeaderUse::write));
  }
  const format::Geometry geometry = header.geometry();
  meta::MetadataParts parts;
  parts.geometry = geometry;
  parts.has_backing = !header.backing_name.empty();
  parts.writable = writable;
  parts.file_size_bytes = storage->size_bytes();
  HostOffset l1_table = header.l1_table;
  std::uint64_t l1_entries = header.l1_entries;
  std::uint64_t size_bytes = header.virtual_size_bytes;
  BYRE_CO_TRY(Bitmaps bitmaps, co_await read_bitmaps(*storage, header));
  if (writable || options.snapshot) {
    BYRE_CO_TRY(const std::vector<format::Snapshot> snapshots, co_await read_snapshots(*storage, header));
    parts.regions = metadata_regions(header, snapshots, bitmaps);
    parts.bitmap_data = std::move(bitmaps.data);
    if (options.snapshot) {
      BYRE_CO_TRY(const format::Snapshot snapshot, find_snapshot(snapshots, *options.snapshot, options.snapshot_key));
      BYRE_CO_CHECK(format::check_snapshot_l1(snapshot, geometry, size_bytes, header.l1_table, storage->size_bytes()));
      BYRE_CO_CHECK(format::check_snapshot_disk_size(snapshot, geometry));
      l1_table = snapshot.l1_table;
      l1_entries = snapshot.l1_entries;
      size_bytes = snapshot.disk_size_bytes.value_or(size_bytes);
    }
  }
  BYRE_CO_TRY(std::vector<std::uint64_t> l1, co_await read_table(*storage, l1_table, l1_entries));
  parts.l1 = meta::ResidentTable(l1_table, std::move(l1));
  parts.cache_size_bytes = cache_size(geometry, size_bytes, options.cache_size_bytes);
  parts.refcount_table_clusters = header.refcount_table_clusters;
  if (writable) {
    const std::uint64_t entries = header.refcount_table_clusters * geometry.refcount_table_entries_per_cluster();
    BYRE_CO_TRY(std::vector<std::uint64_t> table, co_await read_table(*storage, header.refcount_table, entries));
    parts.refcount_table = meta::ResidentTable(header.refcount_table, std::move(table));
  }
  BYRE_CO_TRY(std::unique_ptr<meta::Metadata> metadata, meta::Metadata::create(std::move(parts)));
  if (!backing && !header.backing_name.empty() && options.backing.follow) {
    BYRE_CO_TRY(backing, co_await open_backing(*storage, header, options, chain));
  }
  Qcow2Disk::Parts disk;
  disk.storage = std::move(storage);
  disk.backing = std::move(backing);
  disk.metadata = std::move(metadata);
  disk.header = std::move(header);
  disk.size_bytes = size_bytes;
  disk.writable = writable;
  disk.discard = options.discard;
  disk.lazy_refcounts = writable && lazy_refcounts;
  disk.log = options.log;
  co_return std::make_unique<Qcow2Disk>(std::move(disk));
}

Task<Opened> open_layer(std::unique_ptr<Storage> storage, OpenOptions options, std::unique_ptr<Disk> backing,
                        Chain& chain) {
  const std::string name = escape_untrusted(storage->name());
  chain.layers.push_back(storage->identity());
  auto format = co_await decide_format(*storage, options);
  if (!format) co_return std::unexpected(std::move(format).error().with_context(name));
  if (*format == "raw") {
    if (options.snapshot) co_return fail(ErrorCode::invalid_argument, "{}: a raw disk has no snapshots", name);
    co_return std::make_unique<RawDisk>(std::move(storage), options.writable, options.discard);
  }
  auto opened = co_await open_qcow2(std::move(storage), std::move(options), std::move(backing), chain);
  if (!opened) co_return std::unexpected(std::move(opened).error().with_context(name));
  co_return std::move(*opened);
}

Result<void> check_options(const OpenOptions& options) {
  if (!options.writable) return {};
  if (options.snapshot) return fail(ErrorCode::invalid_argument, "a snapshot can only be opened read-only");
  if (options.force_share) return fail(ErrorCode::invalid_argument, "sharing by force is for reading only");
  return {};
}

}  // namespace

Task<Opened> open_disk(std::string path, OpenOptions options) {
  BYRE_CO_CHECK(check_options(options));
  FileOptions file;
  file.writable = options.writable;
  file.cache = options.cache;
  file.locking = options.force_share ? Locking::force_share : Locking::enforced;
  file.discard = options.discard ? DiscardMode::unmap : DiscardMode::ignore;
  BYRE_CO_TRY(std::unique_ptr<Storage> storage, open_file(std::move(path), file));
  co_return co_await open_disk(std::move(storage), std::move(options), nullptr);
}

Task<Opened> open_disk(std::unique_ptr<Storage> storage, OpenOptions options, std::unique_ptr<Disk> backing) {
  BYRE_CO_CHECK(check_options(options));
  Chain chain;
  co_return co_await open_layer(std::move(storage), std::move(options), std::move(backing), chain);
}

}  // namespace byre
