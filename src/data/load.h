// What an open image keeps of its metadata, read from its storage; and the same once more, after an operation that
// wrote past it. Nothing is written.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "byre/data/disk.h"
#include "format/header.h"
#include "format/snapshot_table.h"
#include "meta/metadata.h"

namespace byre {

struct LoadOptions {
  bool writable = false;
  std::uint64_t cache_size_bytes = 0;  // 0: enough for the whole image, at most 32 MiB
  std::optional<std::string> snapshot;
  SnapshotKey snapshot_key = SnapshotKey::id_or_name;
  std::optional<format::Snapshot> state;  // the same, already found
};

struct LoadedImage {
  format::Header header;
  std::unique_ptr<meta::Metadata> metadata;
  std::uint64_t size_bytes = 0;  // of the disk, or of the snapshot
};

Task<Result<format::Header>> read_header(Storage& storage, format::HeaderUse use);
Task<Result<LoadedImage>> load_image(Storage& storage, format::Header header, LoadOptions options);

Task<Result<std::vector<format::Snapshot>>> read_snapshots(Storage& storage, const format::Header& header);
// The place of the first one with that id or name; an id goes before a name. Errors: not_found.
Result<std::size_t> find_snapshot(const std::vector<format::Snapshot>& snapshots, const std::string& wanted,
                                  SnapshotKey key);
// Its L1 table and disk size can be followed (H-41, H-42).
Result<void> check_usable(const format::Snapshot& snapshot, const format::Header& header,
                          std::uint64_t file_size_bytes);

// An L1 or refcount table in host byte order. Nothing in it is judged.
Task<Result<std::vector<std::uint64_t>>> read_table(Storage& storage, HostOffset at, std::uint64_t entries);

}  // namespace byre
