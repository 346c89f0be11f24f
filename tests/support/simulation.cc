// The image, its backing content and the program are drawn from the seed first. The preparation runs without crashes
// and may end with a snapshot; then the program runs with several workers that take the next request as they become
// free.
//
// After a crash: the tables must be sound (leaks allowed), every unit must hold what the oracle allows, a snapshot must
// read as it did; now and then the image is opened again for writing, used, closed, and must then be without errors.

#include "support/simulation.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "byre/data/disk.h"
#include "byre/storage/memory.h"
#include "byre/task/sync.h"
#include "support/bytes.h"
#include "support/oracle.h"
#include "support/recovery.h"
#include "support/snapshot_image.h"
#include "support/test_image.h"
#include "support/verify.h"

namespace byre::test {
namespace {

enum class Kind { write, write_zeroes_keep, write_zeroes_unmap, discard, write_compressed, flush, read };

struct Operation {
  Kind kind;
  std::uint64_t offset, length;
  std::byte value;
};

struct Setup : TestImage {
  bool snapshot = false;
  std::vector<Operation> before, program;
};

constexpr std::uint64_t unit = Oracle::unit_bytes;

bool whole_clusters_clear(const Setup& setup) { return setup.image.geometry.version >= 3 || setup.backing.empty(); }

Operation random_operation(const Setup& setup, SimulatedRandom& random, const unsigned (&weights)[7]) {
  unsigned total = 0;
  for (const unsigned weight : weights) total += weight;
  std::uint64_t pick = random.below(total);
  std::size_t kind = 0;
  while (pick >= weights[kind]) pick -= weights[kind++];
  const std::uint64_t cluster = setup.image.geometry.cluster_size_bytes();
  const std::uint64_t size = setup.image.size_bytes;
  Operation operation{static_cast<Kind>(kind), 0, 0, static_cast<std::byte>(1 + random.below(255))};
  const std::uint64_t most = random.one_in(4) ? 4 * cluster : cluster + cluster / 2;
  operation.offset = random.below(size / unit) * unit;
  if (random.one_in(3)) operation.offset = operation.offset / cluster * cluster;
  operation.length = unit * (1 + random.below(std::max<std::uint64_t>(most / unit, 1)));
  if (random.one_in(3)) operation.length = std::max(operation.length / cluster, std::uint64_t{1}) * cluster;
  if (operation.kind == Kind::write_compressed) {
    operation.offset = operation.offset / cluster * cluster;
    operation.length = cluster;
  }
  operation.length = std::min(operation.length, size - operation.offset);
  return operation;
}

// Few clusters make requests meet; many make more metadata than the smallest cache holds.
std::uint64_t random_cluster_count(const SimulationOptions& options, SimulatedRandom& random) {
  if (options.large) return 3 + random.below(6);
  const std::uint64_t kind = random.below(10);
  return kind < 5 ? 2 + random.below(12) : kind < 9 ? 2 + random.below(80) : 400 + random.below(800);
}

Setup draw(const SimulationOptions& options, SimulatedRandom& random) {
  Setup setup;
  format::Geometry& geometry = setup.image.geometry;
  geometry.version = random.one_in(3) && !options.lazy ? 2 : 3;
  geometry.cluster_bits = static_cast<unsigned>(9 + random.below(random.one_in(4) ? 4 : 2));
  if (options.large) geometry.cluster_bits = static_cast<unsigned>(13 + random.below(random.one_in(8) ? 9 : 4));
  geometry.refcount_order = geometry.version == 2 ? 4 : static_cast<unsigned>(random.below(7));
  if (options.crowded) geometry = {3, 9, 6};
  setup.cache_bytes = random.one_in(2) ? 1 : 0;  // the least there can be, or the default
  const std::uint64_t cluster = geometry.cluster_size_bytes();
  const std::uint64_t clusters = random_cluster_count(options, random);
  setup.image.size_bytes = clusters * cluster - (random.one_in(3) ? 512 * random.below(cluster / 512) : 0);
  if (geometry.version == 3 && (random.one_in(2) || options.lazy)) {
    setup.image.lazy_refcounts = random.one_in(2) || options.lazy;
    if (random.one_in(3) && !options.lazy) setup.lazy_refcounts = random.one_in(2);
  }
  if (geometry.version == 3 && random.one_in(3)) setup.image.compression_type = format::CompressionType::zstd;
  if (random.one_in(options.lazy ? 8 : 2)) {
    setup.image.backing_name = "base";
    setup.backing.resize(512 * (1 + random.below(setup.image.size_bytes / 256)));
    for (std::size_t i = 0; i < setup.backing.size(); ++i) {
      setup.backing[i] = static_cast<std::byte>(random.one_in(8) ? 0 : i / unit * 37 + 1);
    }
  }
  // Drawn beside the others, so that it changes none of them.
  setup.copy_on_read = !setup.image.backing_name.empty() && SimulatedRandom(options.seed + 1).one_in(3);
  unsigned weights[7];  // each run has its own mix
  for (unsigned& weight : weights) weight = static_cast<unsigned>(random.below(4));
  weights[0] += 2;
  if (options.lazy && random.one_in(2)) weights[static_cast<std::size_t>(Kind::write_compressed)] = 0;
  weights[5] += 1;
  setup.snapshot = random.one_in(3) && !options.crowded;
  for (std::uint64_t i = random.one_in(4) ? 0 : random.below(clusters >= 400 ? 80 : 10); i > 0; --i) {
    setup.before.push_back(random_operation(setup, random, weights));
  }
  for (unsigned i = 0; i < options.operations; ++i) setup.program.push_back(random_operation(setup, random, weights));
  return setup;
}

}  // namespace

class Simulation {
 public:
  // What comes before the program; a failure shows in the result.
  explicit Simulation(const SimulationOptions& options)
      : options_(options), random_(options.seed * 2 + 1), setup_(draw(options_, random_)) {
    prepare();
  }

  void set_fault(const FaultPlan& fault) { options_.fault = fault; }
  void set_crash_one_in(unsigned completions) { options_.crash_one_in = completions; }

  // Once: the program goes on from what was prepared.
  SimulationResult run() {
    if (!result_.failure.empty()) return std::move(result_);
    auto scheduler = std::make_unique<SimulatedScheduler>(options_.seed);
    SimulatedScheduler& schedule = *scheduler;
    SimulatedDiskOptions disk_options;
    disk_options.sector_bytes = random_.one_in(4) ? 4096 : 512;
    if (options_.sector_bytes != 0) disk_options.sector_bytes = options_.sector_bytes;
    result_.sector_bytes = disk_options.sector_bytes;
    result_.disk_bytes = setup_.image.size_bytes;
    disk_options.flush_errors_stick = false;  // so that what follows a failed flush is put to the test too
    choose_order(schedule);
    EventLoop loop(std::move(scheduler));
    auto storage = std::make_unique<SimulatedDisk>(schedule, disk_options, image_);
    disk_on_ = storage.get();
    auto disk = loop.run(open_image(std::move(storage), setup_, true, std::nullopt));
    if (!disk) return fail("open: " + disk.error().message());
    disk_ = disk->get();
    const std::uint64_t before = disk_on_->operation_count();
    disk_on_->set_fault(options_.fault);
    if (std::getenv("BYRE_SIM_TRACE")) print_trace();
    if (options_.on_start) options_.on_start(*disk_on_, *disk_);
    schedule.set_before_pick([this] { before_pick(); });
    loop.run(run_program());
    result_.faults = disk_on_->fault_count();
    result_.operations_on_disk = disk_on_->operation_count() - before;
    disk_on_->set_fault({});
    if (result_.failure.empty()) loop.run(finish());
    schedule.set_before_pick(nullptr);
    result_.picks = schedule.picks();
    if (result_.failure.empty()) examine_closed();
    return std::move(result_);
  }

 private:
  SimulationResult fail(std::string text) {
    if (result_.failure.empty()) result_.failure = std::move(text);
    return result_;
  }

  // BYRE_SIM_TRACE=1 shows every request and every I/O of a seed that is repeated.
  void print_trace() {
    const format::Geometry& geometry = setup_.image.geometry;
    fmt::print("version {}, cluster bits {}, refcount order {}, size {}, backing {}, snapshot {}, lazy {}\n",
               geometry.version, geometry.cluster_bits, geometry.refcount_order, setup_.image.size_bytes,
               setup_.backing.size(), snapshot_content_.has_value(), setup_.lazy());
    trace_ = true;
    disk_on_->set_trace([](const StorageEvent& event) {
      fmt::print("  {} #{} {} {:#x}+{:#x}{}\n", event.completed ? "end  " : "begin", event.number,
                 storage_operation_name(event.operation), event.offset_bytes, event.length_bytes,
                 event.failed ? " FAILED" : "");
    });
  }

  // Any order; or requests that hang while others come and go, which is how a lease is put to the test.
  void choose_order(SimulatedScheduler& schedule) {
    if (options_.choose) return schedule.set_chooser(options_.choose);
    const std::uint64_t policy = random_.below(3);
    if (policy == 0) return;
    const std::uint64_t patience = 4u << random_.below(6);
    schedule.set_chooser([this, policy, patience](std::size_t count) -> std::size_t {
      if (count == 1 || random_.one_in(patience)) return random_.below(count);
      return policy == 1 ? count - 1 : 1 + random_.below(count - 1);
    });
  }

  // Runs the first part on memory, and takes the snapshot.
  void prepare() {
    image_ = fresh_image(setup_.image);
    if (options_.crowded) crowd(image_, 8 + random_.below(80));
    known_leaks_ = verify(image_).leaks;
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));  // nothing waits on memory
    auto storage = std::make_unique<MemoryStorage>(ConstBytes(image_));
    MemoryStorage* memory = storage.get();
    auto disk = loop.run(open_image(std::move(storage), setup_, true, std::nullopt));
    if (!disk) return void(fail("preparation: " + disk.error().message()));
    for (const Operation& operation : setup_.before) {
      const auto done = loop.run(perform(**disk, operation));
      if (!done && done.error().code() != ErrorCode::io && done.error().code() != ErrorCode::invalid_argument) {
        return void(fail("preparation: " + done.error().message()));
      }
    }
    if (auto closed = loop.run((*disk)->close()); !closed) return void(fail(closed.error().message()));
    image_ = memory->content();
    if (const Verdict verdict = verify(image_); verdict.dirty || !verdict.sound() || verdict.leaks != known_leaks_) {
      return void(fail("after the preparation: " + verdict.text()));
    }
    auto content = loop.run(read_all(ConstBytes(image_), setup_, std::nullopt));
    if (!content) return void(fail("preparation: " + content.error().message()));
    oracle_.emplace(*content);
    if (setup_.snapshot && add_snapshot(image_, "1")) snapshot_content_ = *content;
  }

  static Task<Result<void>> perform(Disk& disk, Operation operation) {
    std::vector<std::byte> data(operation.length);
    fill_units(operation.offset, data, operation.value);
    const ConstBytes bytes(data);
    switch (operation.kind) {
      case Kind::write: co_return co_await disk.write(operation.offset, bytes);
      case Kind::write_compressed: co_return co_await disk.write_compressed(operation.offset, bytes);
      case Kind::write_zeroes_keep:
        co_return co_await disk.write_zeroes(operation.offset, operation.length, ZeroMode::keep);
      case Kind::write_zeroes_unmap:
        co_return co_await disk.write_zeroes(operation.offset, operation.length, ZeroMode::unmap);
      case Kind::discard: co_return co_await disk.discard(operation.offset, operation.length);
      case Kind::flush: co_return co_await disk.flush();
      case Kind::read: break;
    }
    co_return Result<void>{};
  }

  Task<Result<void>> run_program() {
    TaskGroup workers;
    for (unsigned i = 0; i < options_.workers; ++i) workers.start(work());
    co_return co_await workers.join();
  }

  Task<Result<void>> work() {
    while (next_ < setup_.program.size() && result_.failure.empty()) {
      const Operation operation = setup_.program[next_++];
      if (trace_) {
        fmt::print("request {}: kind {}, {:#x}+{:#x}, value {:#04x}\n", next_, static_cast<int>(operation.kind),
                   operation.offset, operation.length, static_cast<unsigned>(operation.value));
      }
      if (operation.kind == Kind::read) {
        co_await read_and_check(operation);
      } else if (operation.kind == Kind::flush) {
        co_await flush_and_note();
      } else {
        co_await change(operation);
      }
    }
    co_return Result<void>{};
  }

  Task<void> read_and_check(Operation operation) {
    const std::uint64_t since = oracle_->now();
    std::vector<std::byte> content(setup_.image.size_bytes);
    const Bytes target(content);
    const auto done = co_await disk_->read(0, target);
    if (!done && result_.faults == 0 && options_.fault.nth == 0) fail("read: " + done.error().message());
    if (!done) co_return;
    (void)operation;
    if (const auto wrong = oracle_->check_running(content, since))
      fail("running, " + oracle_->explain(*wrong, content));
  }

  Task<void> flush_and_note() {
    const std::uint64_t issued = oracle_->now();
    const auto done = co_await disk_->flush();
    if (done) oracle_->flushed(issued);
    if (!done && options_.fault.nth == 0) fail("flush: " + done.error().message());
  }

  // The bytes that an operation surely changes, and what to.
  std::pair<std::uint64_t, std::uint64_t> effect(const Operation& operation) const {
    if (operation.kind != Kind::discard) return {operation.offset, operation.length};
    const std::uint64_t cluster = setup_.image.geometry.cluster_size_bytes();
    const std::uint64_t end = operation.offset + operation.length;
    const std::uint64_t first = (operation.offset + cluster - 1) / cluster * cluster;
    const std::uint64_t last = end == setup_.image.size_bytes ? end : end / cluster * cluster;
    if (last <= first || !whole_clusters_clear(setup_)) return {0, 0};
    return {first, last - first};
  }

  Task<void> change(Operation operation) {
    const bool writes = operation.kind == Kind::write || operation.kind == Kind::write_compressed;
    const auto [offset, length] = effect(operation);
    const std::size_t ticket = oracle_->issue(offset, length, writes ? operation.value : std::byte{0});
    const auto done = co_await perform(*disk_, operation);
    if (done) {
      oracle_->acknowledge(ticket);
    } else if (operation.kind == Kind::write_compressed) {
      oracle_->withdraw(ticket);
    } else {
      oracle_->fail(ticket);
      if (options_.fault.nth == 0) fail("operation: " + done.error().message());
    }
  }

  void before_pick() {
    if (!result_.failure.empty() || !random_.one_in(options_.crash_one_in)) return;
    for (unsigned i = 0; i < options_.images_per_crash && result_.failure.empty(); ++i) {
      static constexpr CrashMode modes[] = {CrashMode::random_subset, CrashMode::prefix_in_order, CrashMode::everything,
                                            CrashMode::nothing};
      disk_on_->crash_image(random_, modes[i % 4], crash_);
      ++result_.crash_states;
      if (options_.on_crash) options_.on_crash(setup_, crash_);
      if (trace_) fmt::print("crash state {}\n", result_.crash_states);
      examine_crash(fmt::format("crash state {} ({})", result_.crash_states, i % 4));
    }
  }

  void examine_crash(const std::string& where) {
    const Verdict verdict = verify(crash_);
    if (!verdict.sound() || (verdict.dirty && !setup_.lazy())) {
      fail(where + (verdict.dirty ? ", dirty: " : ": ") + verdict.text());
      return;
    }
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));  // nothing waits on memory
    auto content = loop.run(read_all(ConstBytes(crash_), setup_, std::nullopt));
    if (!content) {
      fail(where + ": " + content.error().message());
      return;
    }
    if (const auto wrong = oracle_->check_crashed(*content)) fail(where + ", " + oracle_->explain(*wrong, *content));
    check_snapshot(loop, crash_, where);
    if (random_.one_in(32)) go_on_after_crash(*content, where);
    if (!verdict.dirty || !random_.one_in(64)) return;
    const std::string wrong = crash_during_repair(crash_, setup_, {*content, snapshot_content_}, random_.next());
    if (!wrong.empty()) fail(where + ", " + wrong);
  }

  void check_snapshot(EventLoop& loop, const std::vector<std::byte>& image, const std::string& where) {
    if (!snapshot_content_) return;
    auto content = loop.run(read_all(ConstBytes(image), setup_, "1"));
    if (!content) {
      fail(where + ", snapshot: " + content.error().message());
    } else if (!same_bytes(*content, *snapshot_content_)) {
      fail(where + ": the snapshot reads differently");
    }
  }

  // A crashed image is an ordinary image: it takes writes, and a clean close leaves no error.
  void go_on_after_crash(std::vector<std::byte> content, const std::string& where) {
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));  // nothing waits on memory
    auto storage = std::make_unique<MemoryStorage>(ConstBytes(crash_));
    MemoryStorage* memory = storage.get();
    auto disk = loop.run(open_image(std::move(storage), setup_, true, std::nullopt));
    if (!disk) {
      fail(where + ", reopen: " + disk.error().message());
      return;
    }
    for (int i = 0; i < 3; ++i) {
      const unsigned weights[7] = {1, 0, 0, 0, 0, 0, 0};
      const Operation operation = random_operation(setup_, random_, weights);
      if (const auto done = loop.run(perform(**disk, operation)); !done) fail(where + ": " + done.error().message());
      fill_units(operation.offset, Bytes(content).subspan(operation.offset, operation.length), operation.value);
    }
    if (auto closed = loop.run((*disk)->close()); !closed) fail(where + ": " + closed.error().message());
    const std::vector<std::byte> image = memory->content();
    if (const Verdict verdict = verify(image); !verdict.sound() || verdict.dirty)
      fail(where + ", used again: " + verdict.text());
    auto after = loop.run(read_all(ConstBytes(image), setup_, std::nullopt));
    if (!after || *after != content) fail(where + ": used again, it reads differently");
    check_snapshot(loop, image, where + ", used again");
  }

  Task<Result<void>> finish() {
    std::vector<std::byte> content(setup_.image.size_bytes);
    const std::uint64_t since = oracle_->now();
    const Bytes target(content);
    const auto read = co_await disk_->read(0, target);
    if (!read) fail("last read: " + read.error().message());
    if (const auto wrong = oracle_->check_running(content, since))
      fail("at the end, " + oracle_->explain(*wrong, content));
    final_content_ = content;
    const auto closed = co_await disk_->close();
    if (!closed) fail("close: " + closed.error().message());
    co_return Result<void>{};
  }

  void examine_closed() {
    SimulatedRandom unused(0);
    disk_on_->crash_image(unused, CrashMode::nothing, crash_);
    const Verdict verdict = verify(crash_);
    if (!verdict.sound() || verdict.dirty || (options_.fault.nth == 0 && verdict.leaks != known_leaks_)) {
      fail("closed: " + verdict.text());
    }
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));  // nothing waits on memory
    auto content = loop.run(read_all(ConstBytes(crash_), setup_, std::nullopt));
    if (!content || !same_bytes(*content, final_content_)) fail("closed and opened again, it reads differently");
    check_snapshot(loop, crash_, "closed");
  }

  SimulationOptions options_;
  SimulatedRandom random_;
  Setup setup_;
  SimulationResult result_;
  std::vector<std::byte> image_, crash_, final_content_;
  std::optional<std::vector<std::byte>> snapshot_content_;
  std::optional<Oracle> oracle_;
  SimulatedDisk* disk_on_ = nullptr;
  Disk* disk_ = nullptr;
  std::uint64_t known_leaks_ = 0;
  std::size_t next_ = 0;
  bool trace_ = false;
};

SimulationResult simulate(const SimulationOptions& options) { return std::make_unique<Simulation>(options)->run(); }

RepeatedSimulation::RepeatedSimulation(const SimulationOptions& options)
    : prepared_(std::make_unique<Simulation>(options)) {}

RepeatedSimulation::~RepeatedSimulation() = default;

void RepeatedSimulation::set_crash_one_in(unsigned completions) { prepared_->set_crash_one_in(completions); }

SimulationResult RepeatedSimulation::run() const { return std::make_unique<Simulation>(*prepared_)->run(); }

SimulationResult RepeatedSimulation::run(const FaultPlan& fault) const {
  auto simulation = std::make_unique<Simulation>(*prepared_);
  simulation->set_fault(fault);
  return simulation->run();
}

}  // namespace byre::test
