// The simulator: a scheduler that completes pending I/O in an order drawn from a seed (or enumerated by a test), and
// a disk that knows what a crash at any moment may leave behind. Everything is a function of seed and inputs.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "byre/storage/storage.h"
#include "byre/task/event_loop.h"

namespace byre {

// A small, fast, seeded generator (splitmix64): the same numbers on every machine.
class SimulatedRandom {
 public:
  explicit SimulatedRandom(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next();
  std::uint64_t below(std::uint64_t limit) { return next() % limit; }  // limit > 0
  bool one_in(std::uint64_t count) { return below(count) == 0; }

 private:
  std::uint64_t state_;
};

// Poller in which every I/O and every offloaded function waits until it is picked. One pick completes one entry.
class SimulatedScheduler final : public Poller {
 public:
  // What a simulated device has pending. Belongs to the device; must outlive its completion.
  class Entry {
   public:
    virtual ~Entry() = default;

   protected:
    friend class SimulatedScheduler;
    // Takes effect. Returns the coroutine that goes on, or null to stay pending for another pick.
    virtual std::coroutine_handle<> complete() = 0;
  };

  explicit SimulatedScheduler(std::uint64_t seed);
  ~SimulatedScheduler() override;

  // Replaces the seeded choice: `choose(count)` returns which of `count` pending entries completes next (0 is the one
  // submitted first). Asked only when nothing else can run, so that all orders can be enumerated; the seeded choice now
  // and then completes something while coroutines are still ready. Null: seeded again.
  void set_chooser(std::function<std::size_t(std::size_t count)> choose) { choose_ = std::move(choose); }

  // Called before each pick, with nothing running: the moment to take crash images. Null: none.
  void set_before_pick(std::function<void()> hook) { before_pick_ = std::move(hook); }

  bool wait(bool may_block) override;
  void wake() override { woken_.store(true); }
  void offload(std::function<void()> work, std::coroutine_handle<> done) override;

  void submit(Entry& entry) { pending_.push_back(&entry); }
  std::size_t pending() const { return pending_.size(); }
  std::uint64_t picks() const { return picks_; }
  SimulatedRandom& random() { return random_; }

 private:
  class Offloaded;
  void complete_one();

  SimulatedRandom random_;
  std::function<std::size_t(std::size_t)> choose_;
  std::function<void()> before_pick_;
  std::vector<Entry*> pending_;  // in the order of their submission
  std::vector<std::unique_ptr<Offloaded>> offloaded_;
  std::vector<Offloaded*> spare_offloaded_;
  std::uint64_t picks_ = 0;
  std::atomic<bool> woken_{false};
};

enum class StorageOperation { read, write, flush, zero, punch, allocate, resize, clone };
std::string_view storage_operation_name(StorageOperation operation);

// Makes operations fail. Operations are counted from 1 when they are submitted.
struct FaultPlan {
  std::uint64_t nth = 0;                 // 0: no fault
  std::optional<StorageOperation> only;  // count and fail only this kind
  int errno_value = 5;                   // EIO, or ENOSPC; ignored for a short transfer
  bool for_ever = false;                 // every one from the n-th on
  // A read or write is done in two transfers with other completions in between, and succeeds.
  bool short_transfer = false;
};

struct SimulatedDiskOptions {
  std::uint32_t sector_bytes = 512;  // what is never torn: 512 or 4096
  bool writable = true;
  bool flush_errors_stick = true;            // after one EIO every flush fails, as on a real file
  bool punch_may_do_nothing = false;         // a punch leaves the range as it was, now and then
  std::uint64_t limit_bytes = 256ull << 20;  // growing beyond is ENOSPC
  std::uint64_t clone_block_bytes = 0;       // disks of one scheduler can clone from each other; 0: they cannot
  std::string name = "simulated";
};

// What a crash keeps of the writes that no flush has covered, those still in flight included.
enum class CrashMode {
  nothing,          // none of them
  everything,       // all of them
  prefix_in_order,  // the first ones, in the order of completion; the next torn at a sector
  random_subset,    // per sector, any version between the durable one and the latest
};

struct StorageEvent {
  StorageOperation operation;
  bool completed;        // false: submitted
  std::uint64_t number;  // of the operation, from 1
  std::uint64_t offset_bytes;
  std::uint64_t length_bytes;
  bool failed = false;
};

// Storage over a SimulatedScheduler. An operation takes effect when it completes. What completed but was not covered
// by a flush *submitted* later is volatile.
//
// Model of a crash, as of a page cache over a disk: each sector holds its durable version or any later one (a write
// of part of a sector builds on the version before it), and any set of writes in flight on top. Sizes set by resize()
// become durable in their order; a write behind the end that reached the disk carries the size with it; what lies
// between reads as zeros. A punch or zero is a write of zeros. A clone is a write of what the source held when it was
// asked for, but takes effect whole or, if it fails, not at all.
class SimulatedDisk final : public Storage {
 public:
  // `content` is durable from the start. The scheduler must outlive the disk.
  SimulatedDisk(SimulatedScheduler& scheduler, SimulatedDiskOptions options, std::vector<std::byte> content = {});
  ~SimulatedDisk() override;

  Task<Result<std::size_t>> read(std::uint64_t offset_bytes, Bytes target) override;
  Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) override;
  Task<Result<void>> flush() override;
  Task<Result<void>> zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) override;
  Task<Result<void>> punch(std::uint64_t offset_bytes, std::uint64_t length_bytes) override;
  Task<Result<void>> allocate(std::uint64_t offset_bytes, std::uint64_t length_bytes) override;
  Task<Result<void>> resize(std::uint64_t size_bytes) override;
  Task<Result<void>> extend(std::uint64_t size_bytes) override;
  std::uint64_t size_bytes() const override;
  Task<Result<StorageExtent>> extent_at(std::uint64_t offset_bytes) override;
  std::optional<std::uint64_t> allocated_bytes() const override;
  std::uint64_t clone_block_bytes() const override;
  // Asserts that offsets and length are what clone() asks for. An injected EOPNOTSUPP or EXDEV is `unsupported`.
  Task<Result<void>> clone(std::uint64_t offset_bytes, Storage& source, std::uint64_t source_offset_bytes,
                           std::uint64_t length_bytes) override;
  bool writable() const override;
  StorageIdentity identity() const override;
  const std::string& name() const override;

  // The content as a program sees it now.
  const std::vector<std::byte>& running_image() const;

  // What the disk may hold after a crash at this moment. May be called at any time, as often as wanted; the work that
  // depends only on the moment is done once. `image` is overwritten (pass the same one again to save allocations).
  void crash_image(SimulatedRandom& random, CrashMode mode, std::vector<std::byte>& image) const;
  std::vector<std::byte> crash_image(SimulatedRandom& random, CrashMode mode = CrashMode::random_subset) const;

  // Exact enumeration for small cases: the number of distinct choices, at most `limit`; and the choice `index` below
  // that number. Index 0 is the durable image.
  std::uint64_t crash_state_count(std::uint64_t limit) const;
  void crash_image(std::uint64_t index, std::vector<std::byte>& image) const;

  void set_fault(FaultPlan plan);               // replaces the plan and starts counting anew
  std::uint64_t fault_count() const;            // faults injected since set_fault()
  std::uint64_t operation_count() const;        // operations submitted since construction
  std::uint64_t volatile_sector_count() const;  // sectors that a crash may change
  void set_trace(std::function<void(const StorageEvent&)> trace);

 private:
  class Operation;
  struct State;
  Task<Result<void>> change(StorageOperation kind, std::uint64_t offset_bytes, std::uint64_t length_bytes,
                            std::span<const ConstBytes> parts);
  std::unique_ptr<State> state_;
};

}  // namespace byre
