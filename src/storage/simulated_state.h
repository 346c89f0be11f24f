// What a simulated disk remembers: the running content, the durable one, and per sector what lies between them.
#pragma once

#include <memory>
#include <vector>

#include "byre/storage/simulated.h"

namespace byre {

inline std::size_t as_size(std::uint64_t value) { return static_cast<std::size_t>(value); }

// A set of bytes of one sector, in a fixed-size block. Null stands for zeros.
using SectorBytes = std::unique_ptr<std::byte[]>;

// What a sector held after a change.
struct SectorVersion {
  std::uint64_t sequence = 0;  // of the change
  // 0, or the number of the resize() that made it: whoever keeps that resize keeps no older version of the sector,
  // and whoever does not keeps no newer one.
  std::uint64_t barrier = 0;
  std::uint32_t written_end = 0;  // a crash that keeps it has the file reach at least so far into the sector
  SectorBytes bytes;
};

struct SizeChange {
  std::uint64_t sequence = 0;
  std::uint64_t number = 0;  // counts resizes from 1, over the disk's life
  std::uint64_t size_bytes = 0;
};

// One operation, from its call to its completion; lives in the calling coroutine's frame.
class SimulatedDisk::Operation final : public SimulatedScheduler::Entry {
 public:
  Operation(State& disk, StorageOperation operation, std::uint64_t offset, std::uint64_t length)
      : state(disk), kind(operation), offset_bytes(offset), length_bytes(length) {}

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> self);
  // 0 or the errno of an injected fault.
  int await_resume() const noexcept { return errno_value; }

  State& state;
  const StorageOperation kind;
  const std::uint64_t offset_bytes;
  const std::uint64_t length_bytes;   // resize: 0, and the size is the offset
  Bytes target;                       // read
  std::span<const ConstBytes> parts;  // write: the caller's own memory, looked at when it takes effect
  std::uint64_t number = 0;
  std::uint64_t done_bytes = 0;  // of a transfer that was cut in two
  std::size_t read_bytes = 0;
  bool cut = false;
  int errno_value = 0;
  std::uint64_t flush_sequence = 0;
  std::uint64_t flush_size_bytes = 0;

 protected:
  std::coroutine_handle<> complete() override;

 private:
  bool transfer();
  std::uint64_t first_transfer_bytes(std::uint64_t count) const;
  std::coroutine_handle<> waiter_;
};

// A change of one sector that is in flight, or none.
struct CrashOverlay {
  std::size_t order = 0;    // of its operation among those in flight
  std::uint32_t begin = 0;  // in the sector
  std::uint32_t end = 0;
  const std::byte* bytes = nullptr;  // null: zeros
  bool extends = false;
};

// What a crash may keep of one sector: a version (the durable one if `versions` begins before the first), and any of
// the overlays on top.
struct SectorChoice {
  std::size_t sector = 0;
  bool durable = true;  // the durable content is a choice, the first
  std::span<const SectorVersion> versions;
  std::size_t first_overlay = 0;
  std::size_t overlay_count = 0;
  std::size_t version_count() const { return versions.size() + (durable ? 1 : 0); }
};

// What a crash may keep, given how many of the volatile resizes it keeps.
struct CrashEpoch {
  std::uint64_t size_bytes = 0;
  std::vector<SectorChoice> sectors;
};

struct CrashResize {
  std::size_t order = 0;
  std::uint64_t size_bytes = 0;
  bool exact = false;  // else it only grows
};

struct CrashPlan {
  bool valid = false;
  std::vector<CrashEpoch> epochs;
  std::vector<CrashOverlay> overlays;
  std::vector<CrashResize> resizes;              // in flight
  std::vector<std::vector<std::byte>> contents;  // of the writes in flight
};

// One crash: which epoch, which version of each of its sectors (index into the choice), which overlays (bits), and
// which of the resizes in flight (bits).
struct CrashChoice {
  std::size_t epoch = 0;
  std::vector<std::uint32_t> versions;
  std::vector<std::uint64_t> overlays;
  std::uint64_t resizes = 0;
};

struct SimulatedDisk::State {
  State(SimulatedScheduler& its_scheduler, SimulatedDiskOptions its_options, std::vector<std::byte> content);

  void submit(Operation& operation);
  void finish(Operation& operation);
  void copy_out(Operation& operation, std::uint64_t count_bytes) const;
  // Effects of completed changes on running content and versions.
  void apply_range(const Operation& operation, std::uint64_t from_bytes, std::uint64_t count_bytes);
  void apply_some_sectors(const Operation& operation);
  void apply_size(std::uint64_t size_bytes);
  void apply_flush(const Operation& operation);

  const CrashPlan& plan() const;
  void build_image(const CrashChoice& choice, std::vector<std::byte>& image) const;

  SimulatedScheduler& scheduler;
  const SimulatedDiskOptions options;
  std::vector<std::byte> running;
  std::vector<std::byte> durable;
  std::uint64_t sequence = 0;          // changes that took effect
  std::uint64_t flushed_sequence = 0;  // up to here durable
  std::uint64_t resize_number = 0;
  std::vector<std::vector<SectorVersion>> versions;  // by sector; the volatile ones, oldest first
  std::vector<std::size_t> dirty;                    // sectors with versions
  std::vector<SizeChange> size_changes;              // volatile resizes, oldest first
  std::vector<Operation*> in_flight;                 // changes, in the order of submission
  std::vector<SectorBytes> spare;                    // blocks for the next versions

  FaultPlan fault;
  std::uint64_t fault_candidates = 0;
  std::uint64_t faults = 0;
  bool flush_broken = false;  // one failed with EIO: all others will
  std::uint64_t operations = 0;
  std::function<void(const StorageEvent&)> trace;
  mutable CrashPlan crash_plan;
  mutable CrashChoice scratch;

 private:
  std::size_t sector_count(std::uint64_t size_bytes) const;
  SectorBytes copy_sector(std::size_t sector, const std::vector<std::byte>& from);
  void add_version(std::size_t sector, SectorVersion version);
  void record_sector(std::size_t sector, std::uint32_t written_end);
  void shrink_boundary(std::size_t sector, std::uint32_t kept_bytes);
  void make_durable(std::size_t sector, std::uint64_t flush_sequence);
  void inject_fault(Operation& operation);
  void report(const Operation& operation, bool completed) const;
  void plan_overlays(std::vector<std::vector<CrashOverlay>>& by_sector) const;
  CrashEpoch plan_epoch(std::size_t kept_resizes, const std::vector<std::vector<CrashOverlay>>& by_sector) const;
};

}  // namespace byre
