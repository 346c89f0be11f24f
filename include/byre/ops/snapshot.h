// Internal snapshots: states of a disk kept inside its image (docs/format.md section 14).
//
// Each call needs a writable qcow2 disk that no other request uses meanwhile; others are `unsupported` (raw) or
// `refused`. A crash at any moment leaves the state before or after, with leaked clusters at worst; version 3 images
// are marked dirty meanwhile. On error the image is as it was, except that clusters may be leaked where undoing failed
// too.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "byre/data/disk.h"
#include "byre/ops/info.h"

namespace byre {

struct NewSnapshot {
  std::string name;  // at most 255 bytes; need not be unique, may be empty
  std::uint32_t date_seconds = 0;
  std::uint32_t date_nanoseconds = 0;
  std::uint64_t vm_clock_nanoseconds = 0;
  std::uint64_t vm_state_bytes = 0;  // how much of the VM state area belongs to it (section 14.2)
  std::optional<std::uint64_t> instruction_count;
};

// In the order of the table. Also for disks that were opened read-only.
Task<Result<std::vector<SnapshotInfo>>> list_snapshots(Disk& disk);

// Keeps the disk as it is now. Returns the id. The VM state area belongs to the snapshot from then on, and is empty in
// the active disk. Errors: unsupported (a refcount of this width cannot count one owner more, or there are 65,536),
// no_space.
Task<Result<std::string>> create_snapshot(Disk& disk, NewSnapshot snapshot);

// Makes the disk what it was, its size and VM state included. What it is now is lost, unless a snapshot has it.
// Errors: not_found, as above, corrupt.
Task<Result<void>> apply_snapshot(Disk& disk, std::string snapshot, SnapshotKey key = SnapshotKey::id_or_name);

// The VM state area of the active disk (section 14.2), offsets counted from its start: what create_snapshot() is to
// keep, and what apply_snapshot() brought back. It grows as it is written; what was not written reads as zeros,
// whatever the backing file holds there. Reading needs no writable disk. Errors of writing: no_space, refused (not
// writable), invalid_argument (longer than the format allows).
Task<Result<void>> read_vm_state(Disk& disk, std::uint64_t offset_bytes, Bytes target);
Task<Result<void>> write_vm_state(Disk& disk, std::uint64_t offset_bytes, ConstBytes data);

// Forgets a snapshot and gives back what only it needed. Errors: not_found, no_space, corrupt.
Task<Result<void>> delete_snapshot(Disk& disk, std::string snapshot, SnapshotKey key = SnapshotKey::name);

}  // namespace byre
