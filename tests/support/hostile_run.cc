// The storage completes each call in an order drawn from a seed, as a queue of real I/O would.

#include "support/hostile_run.h"

#include <algorithm>
#include <array>

#include "base/math.h"
#include "byre/data/disk.h"
#include "byre/ops/info.h"
#include "byre/storage/simulated.h"
#include "byre/task/sync.h"

namespace byre::test {
namespace {

constexpr std::uint64_t most_read_bytes = 8 << 20;
constexpr unsigned most_status_steps = 5000;
constexpr unsigned change_count = 40;
constexpr unsigned workers = 4;

// Hands every call to another storage, after everything that the scheduler picks first.
class DelayedStorage final : public Storage {
 public:
  explicit DelayedStorage(MemoryStorage& storage) : storage_(storage) {}

  Task<Result<std::size_t>> read(std::uint64_t offset_bytes, Bytes target) override {
    co_await offload([] {});
    co_return co_await storage_.read(offset_bytes, target);
  }
  Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) override {
    co_await offload([] {});
    co_return co_await storage_.write(offset_bytes, parts);
  }
  Task<Result<void>> flush() override {
    co_await offload([] {});
    co_return co_await storage_.flush();
  }
  Task<Result<void>> zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) override {
    co_await offload([] {});
    co_return co_await storage_.zero(offset_bytes, length_bytes, may_unmap);
  }
  Task<Result<void>> punch(std::uint64_t offset_bytes, std::uint64_t length_bytes) override {
    co_await offload([] {});
    co_return co_await storage_.punch(offset_bytes, length_bytes);
  }
  Task<Result<void>> allocate(std::uint64_t offset_bytes, std::uint64_t length_bytes) override {
    return storage_.allocate(offset_bytes, length_bytes);
  }
  Task<Result<void>> resize(std::uint64_t size_bytes) override { return storage_.resize(size_bytes); }
  std::uint64_t size_bytes() const override { return storage_.size_bytes(); }
  Task<Result<StorageExtent>> extent_at(std::uint64_t offset_bytes) override {
    return storage_.extent_at(offset_bytes);
  }
  std::optional<std::uint64_t> allocated_bytes() const override { return storage_.allocated_bytes(); }
  bool writable() const override { return storage_.writable(); }
  StorageIdentity identity() const override { return storage_.identity(); }
  const std::string& name() const override { return storage_.name(); }

 private:
  MemoryStorage& storage_;
};

EventLoop loop_of(std::uint64_t seed) { return EventLoop(std::make_unique<SimulatedScheduler>(seed)); }

std::optional<std::string> text_of(const Result<void>& result) {
  return result ? std::nullopt : std::optional(result.error().message());
}

Task<Result<std::unique_ptr<Disk>>> open_on(MemoryStorage& storage, bool writable,
                                            std::optional<std::string> snapshot = std::nullopt) {
  OpenOptions options;
  options.format = "qcow2";
  options.writable = writable;
  options.snapshot = std::move(snapshot);
  auto delayed = std::make_unique<DelayedStorage>(storage);
  co_return co_await open_disk(std::move(delayed), std::move(options), nullptr);
}

// The part of the storage that an image can have written: what lies behind is a hole.
std::vector<std::byte> content_of(MemoryStorage& storage, std::uint64_t at_most) {
  std::vector<std::byte> bytes(std::min(storage.size_bytes(), at_most));
  EventLoop loop = loop_of(1);
  const Bytes target(bytes);
  const auto got = loop.run(storage.read(0, target));
  bytes.resize(got.value_or(0));
  return bytes;
}

bool same(const HostileImage& image, MemoryStorage& storage) {
  return storage.size_bytes() == image.size_bytes() && content_of(storage, image.bytes.size()) == image.bytes;
}

// Offsets worth a request: everything of a small disk; the ends and the powers of two of a large one.
std::vector<std::uint64_t> interesting_offsets(std::uint64_t size_bytes, std::uint64_t step_bytes) {
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t at = 0; at < std::min(size_bytes, most_read_bytes); at += step_bytes) offsets.push_back(at);
  for (unsigned bit = 23; bit < 63 && (std::uint64_t{1} << bit) < size_bytes; ++bit) {
    offsets.push_back((std::uint64_t{1} << bit) - 512);
    offsets.push_back(std::uint64_t{1} << bit);
  }
  if (size_bytes > 512) offsets.push_back(size_bytes - 512);
  return offsets;
}

Task<Result<void>> read_disk(Disk& disk) {
  constexpr std::uint64_t step = 64 << 10;
  Buffer buffer(step);
  for (const std::uint64_t at : interesting_offsets(disk.size_bytes(), step)) {
    const Bytes target = buffer.bytes().first(std::min(step, disk.size_bytes() - at));
    [[maybe_unused]] const auto done = co_await disk.read(at, target);
  }
  std::uint64_t at = 0;
  for (unsigned i = 0; i < most_status_steps && at < disk.size_bytes(); ++i) {
    const std::uint64_t left = disk.size_bytes() - at;
    const auto status = co_await disk.status(at, left);
    at += status ? status->length_bytes : std::min<std::uint64_t>(left, disk.cluster_size_bytes());
  }
  co_return Result<void>{};
}

class Changes {
 public:
  Changes(Disk& disk, std::uint64_t seed) : disk_(disk), random_(seed) {
    offsets_ = interesting_offsets(disk.size_bytes(), disk.cluster_size_bytes());
  }

  Task<Result<void>> work() {
    while (left_ > 0) {
      --left_;
      const auto done = co_await change();
      if (!done) ++failures_;
    }
    co_return Result<void>{};
  }
  unsigned failures() const { return failures_; }

 private:
  Task<Result<void>> change() {
    const std::uint64_t cluster = disk_.cluster_size_bytes();
    const std::uint64_t size = disk_.size_bytes();
    const std::uint64_t first = random_.one_in(2) ? random_.below(std::min<std::uint64_t>(offsets_.size(), 12))
                                                  : random_.below(offsets_.size());
    const std::uint64_t offset = offsets_[first];
    const std::uint64_t whole = random_.one_in(2) ? cluster : 1 + random_.below(3 * cluster);
    const std::uint64_t length = std::min(whole, size - offset);
    const std::vector<std::byte> data(length, static_cast<std::byte>(random_.next()));
    const ConstBytes bytes(data);
    switch (random_.below(7)) {
      case 0: co_return co_await disk_.write_zeroes(offset, length, ZeroMode::keep);
      case 1: co_return co_await disk_.write_zeroes(offset, length, ZeroMode::unmap);
      case 2: co_return co_await disk_.discard(offset, length);
      case 3: {
        const std::uint64_t start = round_down(offset, cluster);
        const std::vector<std::byte> full(std::min(cluster, size - start), std::byte{0x66});
        const ConstBytes cluster_bytes(full);
        co_return co_await disk_.write_compressed(start, cluster_bytes);
      }
      case 4: co_return co_await disk_.flush();
      default: co_return co_await disk_.write(offset, bytes);
    }
  }

  Disk& disk_;
  SimulatedRandom random_;
  std::vector<std::uint64_t> offsets_;
  unsigned left_ = change_count;
  unsigned failures_ = 0;
};

Task<bool> change_disk(MemoryStorage& storage, std::uint64_t seed) {
  auto disk = co_await open_on(storage, true);
  if (!disk) co_return false;
  bool all_done = true;
  if ((*disk)->size_bytes() > 0) {
    Changes changes(**disk, seed);
    TaskGroup group;
    for (unsigned i = 0; i < workers; ++i) group.start(changes.work());
    [[maybe_unused]] const auto joined = co_await group.join();
    all_done = changes.failures() == 0;
    co_await read_disk(**disk);
  }
  const auto closed = co_await (*disk)->close();
  co_return all_done&& closed.has_value();
}

Task<bool> change_size(MemoryStorage& storage) {
  auto disk = co_await open_on(storage, true);
  if (!disk) co_return false;
  const std::uint64_t cluster = (*disk)->cluster_size_bytes();
  const std::uint64_t longer = round_up((*disk)->size_bytes(), 512) + cluster * cluster / 4;
  const auto grown = co_await (*disk)->resize(longer, Preallocation::off);
  const auto shrunk = co_await (*disk)->resize(512, Preallocation::off);
  const auto closed = co_await (*disk)->close();
  co_return grown.has_value() && shrunk.has_value() && closed.has_value();
}

Task<void> read_once(MemoryStorage& storage, std::uint64_t offset, Outcome& outcome) {
  auto disk = co_await open_on(storage, false);
  if (!disk) {
    outcome.open_error = disk.error().message();
    co_return;
  }
  Buffer buffer(512);
  const Bytes target = buffer.bytes();
  outcome.request_error = text_of(co_await (*disk)->read(offset, target));
  outcome.close_error = text_of(co_await (*disk)->close());
}

Task<void> write_once(MemoryStorage& storage, std::uint64_t offset, std::uint64_t length, Outcome& outcome) {
  auto disk = co_await open_on(storage, true);
  if (!disk) {
    outcome.open_error = disk.error().message();
    co_return;
  }
  const std::vector<std::byte> data(length, std::byte{0xdd});
  const ConstBytes bytes(data);
  outcome.request_error = text_of(co_await (*disk)->write(offset, bytes));
  outcome.close_error = text_of(co_await (*disk)->close());
}

Task<void> read_all(MemoryStorage& storage, std::optional<std::string> snapshot) {
  auto disk = co_await open_on(storage, false, std::move(snapshot));
  if (!disk) co_return;
  co_await read_disk(**disk);
  [[maybe_unused]] const auto closed = co_await (*disk)->close();
}

Task<std::optional<std::string>> look_at(MemoryStorage& storage) {
  InfoOptions options;
  options.format = "qcow2";
  options.count_clusters = true;
  const auto info = co_await image_info(storage, std::move(options));
  co_return info ? std::nullopt : std::optional(info.error().message());
}

Task<std::optional<std::string>> try_snapshot(MemoryStorage& storage) {
  const std::string wanted = "1";
  auto disk = co_await open_on(storage, false, wanted);
  if (!disk) co_return disk.error().message();
  [[maybe_unused]] const auto closed = co_await (*disk)->close();
  co_return std::nullopt;
}

std::unique_ptr<MemoryStorage> read_only_storage(const HostileImage& image) {
  auto storage = storage_of(image);
  storage->set_writable(false);
  return storage;
}

}  // namespace

std::unique_ptr<MemoryStorage> storage_of(const HostileImage& image) {
  auto storage = std::make_unique<MemoryStorage>(ConstBytes(image.bytes), "hostile.qcow2");
  if (image.file_size_bytes == 0) return storage;
  EventLoop loop = loop_of(1);
  [[maybe_unused]] const auto grown = loop.run(storage->resize(image.file_size_bytes));
  return storage;
}

Outcome read_at_damage(const HostileImage& image) {
  Outcome outcome;
  const auto storage = read_only_storage(image);
  EventLoop loop = loop_of(1);
  loop.run(read_once(*storage, image.guest_offset, outcome));
  outcome.changed = !same(image, *storage);
  return outcome;
}

Outcome write_at_damage(const HostileImage& image) {
  Outcome outcome;
  const auto storage = storage_of(image);
  EventLoop loop = loop_of(1);
  loop.run(write_once(*storage, image.guest_offset, image.write_bytes, outcome));
  outcome.changed = !same(image, *storage);
  HostileImage unmarked = image;
  const std::vector<std::byte> now = content_of(*storage, 96);
  if (now.size() < 96 || load_be32(now.data() + 4) < 3) {
    outcome.changed_but_marks = outcome.changed;
    return outcome;
  }
  outcome.corrupt_bit = (load_be64(now.data() + 72) & format::incompatible::corrupt) != 0;
  std::copy_n(now.begin() + 72, 8, unmarked.bytes.begin() + 72);
  std::copy_n(now.begin() + 88, 8, unmarked.bytes.begin() + 88);
  outcome.changed_but_marks = !same(unmarked, *storage);
  return outcome;
}

bool read_everything(const HostileImage& image) {
  const auto storage = read_only_storage(image);
  EventLoop loop = loop_of(2);
  loop.run(read_all(*storage, std::nullopt));
  const std::string snapshot = "1";
  loop.run(read_all(*storage, snapshot));
  loop.run(look_at(*storage));
  return same(image, *storage);
}

bool change_everything(MemoryStorage& storage, std::uint64_t seed) {
  EventLoop loop = loop_of(seed);
  return loop.run(change_disk(storage, seed));
}

std::string repair_and_use(const HostileImage& image, std::uint64_t seed) {
  const auto storage = storage_of(image);
  const auto check = [&storage](Repair repair) {
    EventLoop loop = loop_of(1);
    CheckOptions options;
    options.repair = repair;
    return loop.run(check_image(*storage, options));
  };
  const auto repaired = check(Repair::all);
  if (!repaired) return "";
  const auto again = check(Repair::all);
  if (!again) return "a second repair: " + again.error().message();
  if (again->corruptions_fixed > 0) return "a second repair finds something to repair";
  if (!again->clean()) return "";
  change_everything(*storage, seed);
  const auto used = check(Repair::none);
  if (!used) return "after use: " + used.error().message();
  return used->corruptions > 0 ? "after use there are corruptions" : "";
}

bool resize_disk(MemoryStorage& storage) {
  EventLoop loop = loop_of(1);
  return loop.run(change_size(storage));
}

std::optional<std::string> info_error(const HostileImage& image) {
  const auto storage = read_only_storage(image);
  EventLoop loop = loop_of(1);
  return loop.run(look_at(*storage));
}

std::optional<std::string> snapshot_error(const HostileImage& image) {
  const auto storage = read_only_storage(image);
  EventLoop loop = loop_of(1);
  return loop.run(try_snapshot(*storage));
}

}  // namespace byre::test
