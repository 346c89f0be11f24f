// What the header of an image names, read leniently: a check goes on where a reader would refuse, as far as that makes
// sense. Pure data; nothing here is trusted until it is judged.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "byre/base/result.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "check/findings.h"
#include "format/header.h"
#include "format/snapshot_table.h"

namespace byre::check {

// Host space of one owner that the header names, directly or through a table that is no mapping.
enum class Owner : std::uint8_t {
  header,
  refcount_table,
  refcount_block,
  l1_table,
  l2_table,
  snapshot_table,
  snapshot_l1_table,
  bitmap_directory,
  bitmap_table,
  bitmap_data,
  encryption_header,
};
std::string_view owner_name(Owner owner);
// What can be computed anew from everything else.
inline bool holds_counts(Owner owner) { return owner == Owner::refcount_table || owner == Owner::refcount_block; }

struct Region {
  Owner owner;
  HostOffset at;
  std::uint64_t length_bytes;
};

struct CheckedSnapshot {
  format::Snapshot entry;
  std::string fault;  // why its L1 table cannot be followed; empty: it can
  bool dropped = false;
};

struct Image {
  format::Header header;
  format::Geometry geometry;
  std::uint64_t file_size_bytes = 0;
  std::uint64_t file_clusters = 0;  // the last one may be partial
  bool refcount_table_usable = false;
  std::vector<std::uint64_t> refcount_table;  // raw entries; empty if it is not usable
  std::vector<CheckedSnapshot> snapshots;
  std::uint64_t snapshot_table_bytes = 0;
  bool snapshot_table_must_change = false;  // short extra data, a dropped entry, or a table cut down
  bool bitmaps_must_go = false;             // malformed, and this repair gives them up
  std::vector<Region> regions;              // all but refcount blocks and L2 tables

  bool inside(HostOffset at, std::uint64_t length_bytes) const;
};

// Reads header, refcount table, snapshot table and bitmaps, and reports what is wrong with them. Errors: the header
// cannot be used, or reading it fails.
Task<Result<Image>> read_image(Storage& storage, Repair repair, Findings& findings);

// The raw big-endian words of a table inside the file.
Task<Result<std::vector<std::uint64_t>>> read_words(Storage& storage, HostOffset at, std::uint64_t count);

}  // namespace byre::check
