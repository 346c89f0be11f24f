// The disk's operations: each waits in the scheduler, and takes effect on the running content when it is picked. A
// change also records what each sector that it touched holds now; simulated_crash.cc chooses among these versions.
// Left out: reordering against the drive's own cache with partial flushes; a flush is all or nothing.

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/math.h"
#include "base/text.h"
#include "storage/checks.h"
#include "storage/simulated_state.h"

namespace byre {
namespace {

constexpr std::array<std::string_view, 8> operation_names{"read",  "write",    "flush",  "zero",
                                                          "punch", "allocate", "resize", "clone"};

bool is_change(StorageOperation kind) { return kind != StorageOperation::read && kind != StorageOperation::flush; }

// Copies `target.size()` bytes from `skip` on out of the parts.
void gather(std::span<const ConstBytes> parts, std::uint64_t skip, Bytes target) {
  for (ConstBytes part : parts) {
    if (target.empty()) return;
    if (skip >= part.size()) {
      skip -= part.size();
      continue;
    }
    const std::size_t count = std::min(part.size() - as_size(skip), target.size());
    std::memcpy(target.data(), part.data() + skip, count);
    target = target.subspan(count);
    skip = 0;
  }
}

}  // namespace

std::string_view storage_operation_name(StorageOperation operation) {
  return operation_names[static_cast<std::size_t>(operation)];
}

void SimulatedDisk::Operation::await_suspend(std::coroutine_handle<> self) {
  waiter_ = self;
  state.submit(*this);
}

std::coroutine_handle<> SimulatedDisk::Operation::complete() {
  state.crash_plan.valid = false;
  if (errno_value != 0) {
    if (kind == StorageOperation::write) state.apply_some_sectors(*this);
  } else if (kind == StorageOperation::flush) {
    state.apply_flush(*this);
  } else if (kind == StorageOperation::resize) {
    state.apply_size(offset_bytes);
  } else if (!transfer()) {
    return nullptr;
  }
  state.finish(*this);
  return waiter_;
}

// Cut between sectors only: a system may stop there, but no disk ever held half an entry.
std::uint64_t SimulatedDisk::Operation::first_transfer_bytes(std::uint64_t count) const {
  const std::uint64_t sector = state.options.sector_bytes;
  const std::uint64_t first_boundary = round_down(offset_bytes, sector) + sector;
  const std::uint64_t end = offset_bytes + count;
  if (first_boundary >= end) return count;
  const std::uint64_t boundaries = ceil_div(end - first_boundary, sector);
  return first_boundary + state.scheduler.random().below(boundaries) * sector - offset_bytes;
}

// Returns false if a part is left for another time.
bool SimulatedDisk::Operation::transfer() {
  std::uint64_t count = length_bytes - done_bytes;
  if (cut && done_bytes == 0 && count > 1) count = first_transfer_bytes(count);
  if (kind == StorageOperation::read) {
    state.copy_out(*this, count);
  } else {
    state.apply_range(*this, done_bytes, count);
  }
  done_bytes += count;
  return done_bytes == length_bytes;
}

// The disk may have shrunk since the read was submitted.
void SimulatedDisk::State::copy_out(Operation& operation, std::uint64_t count_bytes) const {
  const std::uint64_t begin = operation.offset_bytes + operation.done_bytes;
  if (begin >= running.size()) return;
  const std::size_t count = as_size(std::min<std::uint64_t>(count_bytes, running.size() - begin));
  std::memcpy(operation.target.data() + operation.done_bytes, running.data() + begin, count);
  operation.read_bytes += count;
}

SimulatedDisk::State::State(SimulatedScheduler& its_scheduler, SimulatedDiskOptions its_options,
                            std::vector<std::byte> content)
    : scheduler(its_scheduler), options(std::move(its_options)), running(content), durable(std::move(content)) {}

void SimulatedDisk::State::submit(Operation& operation) {
  operation.number = ++operations;
  operation.flush_sequence = sequence;
  operation.flush_size_bytes = running.size();
  inject_fault(operation);
  if (is_change(operation.kind)) {
    in_flight.push_back(&operation);
    crash_plan.valid = false;
  }
  report(operation, false);
  scheduler.submit(operation);
}

void SimulatedDisk::State::inject_fault(Operation& operation) {
  if (operation.kind == StorageOperation::flush && flush_broken) operation.errno_value = EIO;
  if (fault.nth == 0 || (fault.only && *fault.only != operation.kind)) return;
  ++fault_candidates;
  if (fault_candidates < fault.nth || (fault_candidates > fault.nth && !fault.for_ever)) return;
  ++faults;
  if (fault.short_transfer) {
    operation.cut = true;
    return;
  }
  operation.errno_value = fault.errno_value;
  if (operation.kind == StorageOperation::flush && fault.errno_value == EIO && options.flush_errors_stick) {
    flush_broken = true;
  }
}

void SimulatedDisk::State::finish(Operation& operation) {
  if (is_change(operation.kind)) in_flight.erase(std::ranges::find(in_flight, &operation));
  report(operation, true);
}

void SimulatedDisk::State::report(const Operation& operation, bool completed) const {
  if (!trace) return;
  trace({operation.kind, completed, operation.number, operation.offset_bytes, operation.length_bytes,
         completed && operation.errno_value != 0});
}

std::size_t SimulatedDisk::State::sector_count(std::uint64_t size_bytes) const {
  return as_size(ceil_div(size_bytes, options.sector_bytes));
}

// The sector as `from` has it, zeros behind its end.
SectorBytes SimulatedDisk::State::copy_sector(std::size_t sector, const std::vector<std::byte>& from) {
  SectorBytes bytes;
  if (spare.empty()) {
    bytes = std::make_unique_for_overwrite<std::byte[]>(options.sector_bytes);
  } else {
    bytes = std::move(spare.back());
    spare.pop_back();
  }
  const std::size_t begin = sector * options.sector_bytes;
  const std::size_t count = begin < from.size() ? std::min<std::size_t>(options.sector_bytes, from.size() - begin) : 0;
  if (count > 0) std::memcpy(bytes.get(), from.data() + begin, count);
  std::memset(bytes.get() + count, 0, options.sector_bytes - count);
  return bytes;
}

void SimulatedDisk::State::add_version(std::size_t sector, SectorVersion version) {
  if (versions.size() <= sector) versions.resize(sector + 1);
  if (versions[sector].empty()) dirty.push_back(sector);
  versions[sector].push_back(std::move(version));
}

void SimulatedDisk::State::record_sector(std::size_t sector, std::uint32_t written_end) {
  const bool is_first = versions.size() <= sector || versions[sector].empty();
  if (!is_first) written_end = std::max(written_end, versions[sector].back().written_end);
  add_version(sector, {sequence, 0, written_end, copy_sector(sector, running)});
}

void SimulatedDisk::State::apply_range(const Operation& operation, std::uint64_t from_bytes,
                                       std::uint64_t count_bytes) {
  const bool is_write = operation.kind == StorageOperation::write || operation.kind == StorageOperation::clone;
  const std::uint64_t begin = operation.offset_bytes + from_bytes;
  std::uint64_t end = begin + count_bytes;
  if (end > running.size()) {
    if (is_write)
      running.resize(as_size(end));
    else if (operation.kind == StorageOperation::punch)
      end = std::max<std::uint64_t>(running.size(), begin);
    else
      apply_size(end);
  }
  if (operation.kind == StorageOperation::allocate || begin >= end) return;
  if (operation.kind == StorageOperation::punch && options.punch_may_do_nothing && scheduler.random().one_in(3)) return;
  ++sequence;
  const Bytes target = Bytes(running).subspan(as_size(begin), as_size(end - begin));
  if (is_write)
    gather(operation.parts, from_bytes, target);
  else
    std::ranges::fill(target, std::byte{0});
  const std::uint64_t size = options.sector_bytes;
  for (std::uint64_t sector = begin / size; sector * size < end; ++sector) {
    const std::uint64_t written_end = is_write ? std::min(end - sector * size, size) : 0;
    record_sector(as_size(sector), static_cast<std::uint32_t>(written_end));
  }
}

// A write that fails may have reached any of its sectors.
void SimulatedDisk::State::apply_some_sectors(const Operation& operation) {
  const std::uint64_t size = options.sector_bytes;
  const std::uint64_t end = operation.offset_bytes + operation.length_bytes;
  std::uint64_t at = operation.offset_bytes;
  while (at < end) {
    const std::uint64_t next = std::min(round_down(at, size) + size, end);
    if (scheduler.random().one_in(2)) apply_range(operation, at - operation.offset_bytes, next - at);
    at = next;
  }
}

void SimulatedDisk::State::apply_size(std::uint64_t size_bytes) {
  ++sequence;
  size_changes.push_back({sequence, ++resize_number, size_bytes});
  const std::uint64_t old_size_bytes = std::max(running.size(), durable.size());
  const bool shrinks = size_bytes < old_size_bytes;
  running.resize(as_size(size_bytes));
  if (!shrinks) return;
  std::size_t sector = as_size(size_bytes / options.sector_bytes);
  if (const auto kept = static_cast<std::uint32_t>(size_bytes % options.sector_bytes); kept > 0) {
    shrink_boundary(sector++, kept);
  }
  const std::size_t end = std::max(versions.size(), sector_count(old_size_bytes));
  for (; sector < end; ++sector) add_version(sector, {sequence, resize_number, 0, nullptr});
}

// The sector in which the new end lies: whatever a crash may keep of it, it may keep with its tail cut off.
void SimulatedDisk::State::shrink_boundary(std::size_t sector, std::uint32_t kept_bytes) {
  std::vector<SectorVersion> cut;
  const auto keep = [&](SectorBytes bytes, std::uint32_t written_end) {
    std::memset(bytes.get() + kept_bytes, 0, options.sector_bytes - kept_bytes);
    cut.push_back({sequence, cut.empty() ? resize_number : 0, std::min(written_end, kept_bytes), std::move(bytes)});
  };
  keep(copy_sector(sector, durable), 0);
  if (sector < versions.size()) {
    for (const SectorVersion& version : versions[sector]) {
      if (version.barrier != 0) cut.clear();
      SectorBytes bytes = copy_sector(sector, {});
      if (version.bytes) std::memcpy(bytes.get(), version.bytes.get(), kept_bytes);
      keep(std::move(bytes), version.written_end);
    }
  }
  for (SectorVersion& version : cut) add_version(sector, std::move(version));
}

// Only what had taken effect when the flush was submitted. Of two flushes the later one may complete first.
void SimulatedDisk::State::apply_flush(const Operation& operation) {
  if (operation.flush_sequence <= flushed_sequence) return;
  flushed_sequence = operation.flush_sequence;
  durable.resize(as_size(operation.flush_size_bytes));
  for (const std::size_t sector : dirty) make_durable(sector, flushed_sequence);
  std::erase_if(dirty, [&](std::size_t sector) { return versions[sector].empty(); });
  std::erase_if(size_changes, [&](const SizeChange& change) { return change.sequence <= flushed_sequence; });
}

void SimulatedDisk::State::make_durable(std::size_t sector, std::uint64_t flush_sequence) {
  std::vector<SectorVersion>& all = versions[sector];
  const auto end = std::ranges::upper_bound(all, flush_sequence, {}, &SectorVersion::sequence);
  if (end == all.begin()) return;
  const SectorBytes& bytes = std::prev(end)->bytes;
  const std::size_t begin = sector * options.sector_bytes;
  if (begin < durable.size()) {
    const std::size_t count = std::min<std::size_t>(options.sector_bytes, durable.size() - begin);
    if (bytes)
      std::memcpy(durable.data() + begin, bytes.get(), count);
    else
      std::memset(durable.data() + begin, 0, count);
  }
  for (auto at = all.begin(); at != end; ++at) {
    if (at->bytes) spare.push_back(std::move(at->bytes));
  }
  all.erase(all.begin(), end);
}

SimulatedDisk::SimulatedDisk(SimulatedScheduler& scheduler, SimulatedDiskOptions options,
                             std::vector<std::byte> content)
    : state_(std::make_unique<State>(scheduler, std::move(options), std::move(content))) {
  BYRE_ASSERT(state_->options.sector_bytes == 512 || state_->options.sector_bytes == 4096);
}

SimulatedDisk::~SimulatedDisk() { BYRE_ASSERT(state_->in_flight.empty()); }

// Checks a change, waits for it, and turns an injected fault into an error.
Task<Result<void>> SimulatedDisk::change(StorageOperation kind, std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                         std::span<const ConstBytes> parts) {
  BYRE_CO_CHECK(check_storage_change(*this, offset_bytes, length_bytes));
  if (length_bytes == 0 && kind != StorageOperation::resize) co_return Result<void>();
  const bool grows = kind != StorageOperation::punch && offset_bytes + length_bytes > size_bytes();
  int errno_value = grows && offset_bytes + length_bytes > state_->options.limit_bytes ? ENOSPC : 0;
  if (errno_value == 0) {
    Operation operation(*state_, kind, offset_bytes, length_bytes);
    operation.parts = parts;
    errno_value = co_await operation;
  }
  if (errno_value == 0) co_return Result<void>();
  co_return std::unexpected(Error::from_errno(
      errno_value,
      fmt::format("{}: {} of {} bytes at {}", name(), storage_operation_name(kind), length_bytes, offset_bytes)));
}

Task<Result<std::size_t>> SimulatedDisk::read(std::uint64_t offset_bytes, Bytes target) {
  if (offset_bytes >= size_bytes() || target.empty()) co_return std::size_t{0};
  const std::uint64_t count = std::min<std::uint64_t>(target.size(), size_bytes() - offset_bytes);
  Operation operation(*state_, StorageOperation::read, offset_bytes, count);
  operation.target = target;
  const int errno_value = co_await operation;
  if (errno_value == 0) co_return operation.read_bytes;
  co_return std::unexpected(
      Error::from_errno(errno_value, fmt::format("{}: read of {} bytes at {}", name(), count, offset_bytes)));
}

Task<Result<void>> SimulatedDisk::write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) {
  return change(StorageOperation::write, offset_bytes, total_size(parts), parts);
}

Task<Result<void>> SimulatedDisk::flush() {
  Operation operation(*state_, StorageOperation::flush, 0, 0);
  const int errno_value = co_await operation;
  if (errno_value == 0) co_return Result<void>();
  co_return std::unexpected(Error::from_errno(errno_value, name() + ": flush"));
}

Task<Result<void>> SimulatedDisk::zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool) {
  return change(StorageOperation::zero, offset_bytes, length_bytes, {});
}

Task<Result<void>> SimulatedDisk::punch(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  return change(StorageOperation::punch, offset_bytes, length_bytes, {});
}

Task<Result<void>> SimulatedDisk::allocate(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  return change(StorageOperation::allocate, offset_bytes, length_bytes, {});
}

Task<Result<void>> SimulatedDisk::clone(std::uint64_t offset_bytes, Storage& source, std::uint64_t source_offset_bytes,
                                        std::uint64_t length_bytes) {
  const auto* const disk = dynamic_cast<SimulatedDisk*>(&source);
  const std::uint64_t block = clone_block_bytes();
  if (disk == nullptr || block == 0 || &disk->state_->scheduler != &state_->scheduler) {
    co_return co_await Storage::clone(offset_bytes, source, source_offset_bytes, length_bytes);
  }
  const std::uint64_t source_end = source_offset_bytes + length_bytes;
  const bool at_both_ends = source_end == disk->size_bytes() && offset_bytes + length_bytes >= size_bytes();
  BYRE_ASSERT(is_aligned(offset_bytes, block) && is_aligned(source_offset_bytes, block));
  BYRE_ASSERT((is_aligned(length_bytes, block) || at_both_ends) && source_end <= disk->size_bytes());
  const auto begin = disk->running_image().begin() + static_cast<std::ptrdiff_t>(source_offset_bytes);
  const std::vector<std::byte> bytes(begin, begin + static_cast<std::ptrdiff_t>(length_bytes));
  const std::array<ConstBytes, 1> parts{bytes};
  const std::span<const ConstBytes> span(parts);
  const Result<void> done = co_await change(StorageOperation::clone, offset_bytes, length_bytes, span);
  if (done) co_return done;
  const int errno_value = done.error().errno_value();
  if (errno_value != EOPNOTSUPP && errno_value != EXDEV) co_return done;
  co_return std::unexpected(Error(ErrorCode::unsupported, done.error().message(), errno_value));
}

Task<Result<void>> SimulatedDisk::resize(std::uint64_t size_bytes) {
  return change(StorageOperation::resize, size_bytes, 0, {});
}

Task<Result<void>> SimulatedDisk::extend(std::uint64_t size_bytes) {
  const std::uint64_t from = std::min(size_bytes, this->size_bytes());
  return change(StorageOperation::allocate, from, size_bytes - from, {});
}

std::uint64_t SimulatedDisk::size_bytes() const { return state_->running.size(); }

// Says hole for sectors that are all zero, so that callers meet both kinds.
Task<Result<StorageExtent>> SimulatedDisk::extent_at(std::uint64_t offset_bytes) {
  BYRE_CO_CHECK(check_extent_offset(*this, offset_bytes));
  const ConstBytes all(state_->running);
  const std::uint64_t size = state_->options.sector_bytes;
  const auto is_data = [&](std::uint64_t sector) {
    const std::uint64_t begin = sector * size;
    return !is_all_zero(all.subspan(as_size(begin), as_size(std::min<std::uint64_t>(size, all.size() - begin))));
  };
  std::uint64_t sector = offset_bytes / size;
  const bool data = is_data(sector);
  do {
    ++sector;
  } while (sector * size < all.size() && is_data(sector) == data);
  const StorageExtent extent{std::min<std::uint64_t>(sector * size, all.size()) - offset_bytes, data};
  co_return extent;
}

std::optional<std::uint64_t> SimulatedDisk::allocated_bytes() const { return std::nullopt; }
std::uint64_t SimulatedDisk::clone_block_bytes() const { return state_->options.clone_block_bytes; }
bool SimulatedDisk::writable() const { return state_->options.writable; }
StorageIdentity SimulatedDisk::identity() const { return {1, reinterpret_cast<std::uintptr_t>(this)}; }
const std::string& SimulatedDisk::name() const { return state_->options.name; }
const std::vector<std::byte>& SimulatedDisk::running_image() const { return state_->running; }

void SimulatedDisk::set_fault(FaultPlan plan) {
  state_->fault = plan;
  state_->fault_candidates = 0;
  state_->faults = 0;
}

std::uint64_t SimulatedDisk::fault_count() const { return state_->faults; }
std::uint64_t SimulatedDisk::operation_count() const { return state_->operations; }
std::uint64_t SimulatedDisk::volatile_sector_count() const { return state_->dirty.size(); }
void SimulatedDisk::set_trace(std::function<void(const StorageEvent&)> trace) { state_->trace = std::move(trace); }

}  // namespace byre
