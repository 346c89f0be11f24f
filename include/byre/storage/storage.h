// The one interface between the engine and bytes: a file, a block device, memory, a simulated disk.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "byre/storage/access_event.h"
#include "byre/task/task.h"

namespace byre {

class BreakPoints;

// Tells whether two storages are the same thing: device and inode for files, an address for memory.
struct StorageIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  friend bool operator==(const StorageIdentity&, const StorageIdentity&) = default;
};

// A stretch of the storage that is either stored (data) or known to read as zeros (hole).
struct StorageExtent {
  std::uint64_t length_bytes = 0;
  bool data = true;
};

// All calls come from the loop's thread. Calls may overlap; overlapping ranges in flight at once have no order.
// Buffers belong to the caller and must live until the awaited call returns. Offsets need no alignment: an
// implementation that has one (direct I/O) hides it. Nothing here is durable before a flush() that began after it
// completed. On error the range of a write holds any mix of old and new bytes.
//
// Six calls must be written for a storage of one's own; the others do here what is always right, and can be replaced by
// what the storage does better (examples/custom_storage.cc).
class Storage {
 public:
  virtual ~Storage() = default;

  // Fills `target` from `offset_bytes` on. Returns the bytes read, fewer than asked only at the end of the storage.
  virtual Task<Result<std::size_t>> read(std::uint64_t offset_bytes, Bytes target) = 0;

  // Writes the parts one behind the other, growing the storage where needed. One request where the system can.
  // A short transfer is continued; what cannot be completed is an error (ENOSPC, EIO).
  virtual Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) = 0;

  // Makes every write that completed before this call durable, with the size that reading it back needs.
  // A file whose fsync failed once with EIO keeps failing: the system may have dropped the pages.
  virtual Task<Result<void>> flush() = 0;

  // Makes the range read as zeros, growing the storage if it ends behind it. Never leaves old bytes on success.
  // With `may_unmap` the host space may be given back; without, it stays reserved where the system can. Here: writes
  // zeros.
  virtual Task<Result<void>> zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap);

  // Gives the host space of the range back, best effort: succeeds without doing anything where it cannot be done.
  // Afterwards the range reads as zeros or as before. Here: as before.
  virtual Task<Result<void>> punch(std::uint64_t offset_bytes, std::uint64_t length_bytes);

  // Reserves host space for the range so that later writes there do not fail for lack of it; grows the storage. Here:
  // only grows it.
  virtual Task<Result<void>> allocate(std::uint64_t offset_bytes, std::uint64_t length_bytes);

  // Cuts or extends (with zeros) to exactly this size.
  virtual Task<Result<void>> resize(std::uint64_t size_bytes) = 0;

  // Makes the storage at least this long, with zeros. Unlike resize() it never cuts off what a write that is under way
  // has grown meanwhile. As it stands here it suits storages whose resize() takes effect before it waits.
  virtual Task<Result<void>> extend(std::uint64_t size_bytes);

  // Current size. For files, kept up to date with our own writes; another process's growth is not seen.
  virtual std::uint64_t size_bytes() const = 0;

  // Kind and length of the stretch that starts at `offset_bytes` (below the size). Never empty; says data if unsure.
  // Here: all is data.
  virtual Task<Result<StorageExtent>> extent_at(std::uint64_t offset_bytes);

  // Host bytes that the storage occupies (512-byte blocks of a file), where known.
  // Here: unknown.
  virtual std::optional<std::uint64_t> allocated_bytes() const { return std::nullopt; }

  // What clone() takes begins at multiples of it, here and in the source. 0: clone() is unsupported. Here: 0.
  virtual std::uint64_t clone_block_bytes() const { return 0; }

  // Makes the range read as that of `source` does now, by sharing its host space instead of copying it; grows the
  // storage. Later changes of one are not seen in the other. The length is a multiple of the block too, unless both end
  // with the range. Errors: unsupported (this storage takes nothing from that one; both are as they were), no_space,
  // io. Here: unsupported.
  virtual Task<Result<void>> clone(std::uint64_t offset_bytes, Storage& source, std::uint64_t source_offset_bytes,
                                   std::uint64_t length_bytes);

  // Whether what lies behind the end may count as zeros where something refers to it. False: it is missing, as what a
  // stream that was cut off did not bring. Here: true.
  virtual bool zeros_behind_end() const { return true; }

  // Says what the calls that follow at once are for. Here: nobody wants to know.
  virtual void announce(AccessEvent) {}

  // For stopping accesses by hand (storage/break_points.h); null: it cannot be done. Here: null.
  virtual BreakPoints* break_points() { return nullptr; }

  // Whether a relative name inside what is stored starts at the directory of name(). False: it leads nowhere, as from
  // another machine. Here: true.
  virtual bool has_directory() const { return true; }

  virtual bool writable() const { return true; }
  // Here: this object's address.
  virtual StorageIdentity identity() const;

  // For messages: the file name as the user gave it.
  virtual const std::string& name() const = 0;
};

// write() with a single part.
Task<Result<void>> write_bytes(Storage& storage, std::uint64_t offset_bytes, ConstBytes bytes);

// write_bytes() with zeros behind them, up to a multiple of `unit_bytes`.
Task<Result<void>> write_filled_up(Storage& storage, std::uint64_t offset_bytes, ConstBytes bytes,
                                   std::uint64_t unit_bytes);

// read() that treats a short read as an error that names the storage, offset and length (docs/format.md H-59).
Task<Result<void>> read_exactly(Storage& storage, std::uint64_t offset_bytes, Bytes target);

// Finds out whether `target` can clone from `source`, by doing it: a block goes behind the end of the target, which is
// then cut to its size again. No other call may be under way on it. Errors: those of clone().
Task<Result<void>> try_clone(Storage& target, Storage& source);

// read() that fills what lies behind the end with zeros, or does not where zeros_behind_end() says so: read_exactly().
Task<Result<void>> read_zero_filled(Storage& storage, std::uint64_t offset_bytes, Bytes target);

}  // namespace byre
