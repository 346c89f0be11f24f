// The guest's view of an image: a disk of so many bytes that can be read, written, zeroed, discarded and flushed.
//
//   EventLoop loop = ...;
//   auto disk = loop.run(open_disk("vm.qcow2", options));
//   auto done = loop.run((*disk)->read(0, buffer));
//
// A disk belongs to the loop it was opened on; every call is made from that loop's thread. Requests may overlap freely;
// overlapping writes in flight at once have no order among themselves, and each byte ends up as one of them left it.
// Nothing is durable before a flush() that began after it completed. Errors leave the image consistent.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/base/log.h"
#include "byre/base/result.h"
#include "byre/storage/file.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"

namespace byre {

// How a stretch of the disk reads, and which layer decides (docs/format.md C-15).
struct BlockStatus {
  std::uint64_t length_bytes = 0;
  unsigned depth = 0;       // 0: this disk, 1: its backing file, ...; where no layer has it: the deepest one
  bool present = false;     // some layer has an entry
  bool zero = false;        // reads as zeros
  bool data = false;        // bytes are stored
  bool compressed = false;  // stored compressed
  std::optional<std::uint64_t> host_offset_bytes;  // of the first byte, in the file of that depth; none if compressed
};

// A stretch of a disk whose bytes are those of a file from an offset on.
struct ClonePiece {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  Storage* source = nullptr;
  std::uint64_t source_offset_bytes = 0;
};

enum class ZeroMode {
  keep,   // host space stays reserved
  unmap,  // host space may be given back
};

// What becomes of data that is all zeros and is written as such.
enum class DetectZeroes {
  off,    // it is stored
  on,     // write_zeroes(keep) instead
  unmap,  // write_zeroes(unmap)
};

// What becomes of the space that a disk gains, when it is made or grown.
enum class Preallocation {
  off,       // clusters come as they are written
  metadata,  // every cluster has its place, without host space. Raw: refused
  falloc,    // and host space is reserved
  full,      // and written with zeros
};

class Disk {
 public:
  virtual ~Disk() = default;

  virtual std::uint64_t size_bytes() const = 0;

  // Offsets and lengths are in bytes, without alignment; the range must lie inside the disk (invalid_argument).
  virtual Task<Result<void>> read(std::uint64_t offset_bytes, Bytes target) = 0;
  virtual Task<Result<void>> write(std::uint64_t offset_bytes, ConstBytes data) = 0;
  virtual Task<Result<void>> write_zeroes(std::uint64_t offset_bytes, std::uint64_t length_bytes, ZeroMode mode) = 0;

  // A hint: whole clusters inside the range are freed and then read as zeros (where the format can say so), the rest
  // stays. Never brings back data of a backing file.
  virtual Task<Result<void>> discard(std::uint64_t offset_bytes, std::uint64_t length_bytes) = 0;

  // One whole cluster (the last one of the disk may be shorter) that is not allocated yet (io), stored compressed if
  // that makes it smaller. Raw disks: unsupported.
  virtual Task<Result<void>> write_compressed(std::uint64_t offset_bytes, ConstBytes data) = 0;
  // For write_compressed() from now on: 1, the fastest, to 9, the smallest; 0: the compression type's default.
  void set_compression_level(int level) { compression_level_ = level; }
  int compression_level() const { return compression_level_; }

  // What clone() takes is in multiples of it. 0: unsupported. Here: 0.
  virtual std::uint64_t clone_unit_bytes() const { return 0; }

  // Makes a range, which was never written, hold the pieces: they lie inside it, rise, and share the host space of
  // their files (Storage::clone()). What no piece covers reads as zeros. Here: unsupported.
  virtual Task<Result<void>> clone(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                   std::span<const ClonePiece> pieces);

  // Makes durable what completed before the call, metadata included.
  virtual Task<Result<void>> flush() = 0;

  // Makes the disk this long (qcow2: a multiple of 512). No other request may be under way. What is added reads as
  // zeros, also above a longer backing file, and is durable with the new size; what is cut off is lost at once. On
  // error the size is the old one, or the new one where only space could not be given back. Errors: invalid_argument,
  // unsupported (version 2 with internal snapshots), no_space.
  virtual Task<Result<void>> resize(std::uint64_t size_bytes, Preallocation preallocation) = 0;

  // The stretch from `offset_bytes` (inside the disk) on, at most `max_length_bytes` (above 0), across the whole chain.
  virtual Task<Result<BlockStatus>> status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) = 0;

  // The same for this layer alone: what it does not have is not present, whatever the backing file holds.
  virtual Task<Result<BlockStatus>> layer_status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) = 0;

  // Flushes, gives back what was freed, and ends. Must be called once, after every other call has returned, also on
  // disks opened read-only; a writable disk that is destroyed without it is as after a crash: consistent, perhaps with
  // leaks.
  virtual Task<Result<void>> close() = 0;

  virtual std::string_view format() const = 0;  // "qcow2" or "raw"
  virtual bool writable() const = 0;
  virtual Storage& storage() = 0;
  virtual Disk* backing() = 0;                           // the next layer, or null
  virtual std::uint64_t cluster_size_bytes() const = 0;  // allocation unit; 0 for raw

 private:
  int compression_level_ = 0;
};

// What an image may make us open. An image is untrusted: a name in it is followed only as far as this allows.
struct BackingPolicy {
  bool follow = true;                 // false: an image with a backing file is opened without it, to be written
                                      // or read above it; ranges that it lacks are an error (refused)
  bool absent = false;                // with `follow` false: they read as zeros instead, as if it named none
  std::optional<std::string> below;   // only files below this directory, after resolving every link
  unsigned max_depth = 200;           // layers below the top
  std::optional<std::string> format;  // for the top's backing file where the image records none
};

enum class SnapshotKey { id_or_name, id, name };

struct OpenOptions {
  std::optional<std::string> format;  // "qcow2" or "raw"; none: probed, which is refused for a raw file to be written
  bool writable = false;
  // What is no qcow2 image counts as raw for writing, too. For callers that write nothing that a guest could choose:
  // its first sector would be taken for the header of an image the next time.
  bool probe_for_writing = false;
  bool force_share = false;  // skip locks; read-only
  CacheMode cache = CacheMode::writeback;
  bool discard = true;  // give host space of freed clusters back
  // With `discard`: of what a request frees, and of what goes with a snapshot.
  bool pass_discard_request = true;
  bool pass_discard_snapshot = true;
  DetectZeroes detect_zeroes = DetectZeroes::off;
  // Whether refcounts may wait while the image is open, which makes flushes cheaper and a repair necessary after a
  // crash. None: as the image says. Version 2 has no way to say that it needs the repair (invalid_argument).
  std::optional<bool> lazy_refcounts;
  // What is read from the backing file is kept in the image, in whole clusters, unless it is zeros; needs `writable`. A
  // read does not fail because that does.
  bool copy_on_read = false;
  std::uint64_t cache_size_bytes = 0;                  // metadata cache; 0: enough for the whole image, at most 32 MiB
  std::optional<std::string> snapshot;                 // read this internal snapshot; read-only
  SnapshotKey snapshot_key = SnapshotKey::id_or_name;  // what `snapshot` is; an id goes before a name
  BackingPolicy backing;
  const std::atomic<bool>* cancel = nullptr;  // once it is true, compressed writes end early (cancelled)
  LogSink log;
};

// Opens the file and, as far as the policy allows, its backing chain (read-only). Errors name the file that failed. An
// image that was not closed cleanly is repaired first if it is opened for writing, which the log is told in one line;
// if more than its counts is wrong that is refused, and nothing but counts has been changed.
Task<Result<std::unique_ptr<Disk>>> open_disk(std::string path, OpenOptions options);

// The same over any storage. `backing`, if given, is used instead of what the image names.
Task<Result<std::unique_ptr<Disk>>> open_disk(std::unique_ptr<Storage> storage, OpenOptions options,
                                              std::unique_ptr<Disk> backing = nullptr);

}  // namespace byre
