// The table of internal snapshots (docs/format.md section 14.1). Decoding refuses what cannot be parsed within the
// limits (H-39, H-40). A snapshot with an unusable L1 table or disk size is still listed; whoever wants to use or
// delete it asks check_snapshot_l1() and the others first (H-41 to H-43).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "byre/base/units.h"
#include "format/geometry.h"

namespace byre::format {

struct Snapshot {
  HostOffset l1_table;
  std::uint32_t l1_entries = 0;
  std::string id;    // unique by convention only; bytes from the image
  std::string name;  // need not be unique, may be empty; bytes from the image
  std::uint32_t date_seconds = 0;
  std::uint32_t date_nanoseconds = 0;
  std::uint64_t vm_clock_nanoseconds = 0;
  std::uint64_t vm_state_bytes = 0;
  std::optional<std::uint64_t> disk_size_bytes;    // absent in old entries: the image's virtual size
  std::optional<std::uint64_t> instruction_count;  // absent, or stored as all ones
  std::vector<std::byte> unknown_extra_data;       // what follows the first 24 bytes of extra data
  // As read; encoding always writes at least 24. Version 3 requires 16, which a check reports.
  std::uint32_t extra_data_bytes = 24;

  friend bool operator==(const Snapshot&, const Snapshot&) = default;
};
inline constexpr std::uint64_t snapshot_entry_min_bytes = 40;

// How many bytes the table has at least, judging by its first bytes. A caller, who does not know the length in
// advance, reads more until the result is covered by what it has; it should at least double what it reads, and must
// stop at the file's end. Errors: an entry's extra data, or the table, is over its limit.
Result<std::uint64_t> snapshot_table_bytes_needed(ConstBytes first_bytes, std::uint64_t count);

// Decodes `count` entries; bytes behind them are ignored, running out of bytes is an error.
Result<std::vector<Snapshot>> decode_snapshot_table(ConstBytes table, std::uint64_t count);

// The encoded table's length: entries start at multiples of 8, the last one is not padded.
std::uint64_t snapshot_table_bytes(const std::vector<Snapshot>& snapshots);
// The length that the table had where the entries were read: those of older writers are shorter.
std::uint64_t stored_snapshot_table_bytes(const std::vector<Snapshot>& snapshots);
// A snapshot without disk size is written with `virtual_size_bytes`. Errors: a limit of section 21 is exceeded.
Result<std::vector<std::byte>> encode_snapshot_table(const std::vector<Snapshot>& snapshots,
                                                     std::uint64_t virtual_size_bytes);

// H-41, I-27: aligned, not on the header, within its limit and the file, not the active L1 table, and long enough for
// the snapshot's disk.
Result<> check_snapshot_l1(const Snapshot& snapshot, const Geometry& geometry, std::uint64_t virtual_size_bytes,
                           HostOffset active_l1_table, std::uint64_t file_size_bytes);
// H-42: a multiple of 512 that an L1 table can cover.
Result<> check_snapshot_disk_size(const Snapshot& snapshot, const Geometry& geometry);
// H-43: the L1 tables of any two snapshots are disjoint.
Result<> check_snapshots_disjoint(const std::vector<Snapshot>& snapshots, const Geometry& geometry);

// Entries of version 2 images have the image's disk size, and a VM state of less than 4 GiB. `now_bytes` is the size of
// those that have none of their own, `size_bytes` what the image will have. Errors: unsupported.
Result<> check_snapshots_fit_version_2(const std::vector<Snapshot>& snapshots, std::uint64_t now_bytes,
                                       std::uint64_t size_bytes);

}  // namespace byre::format
