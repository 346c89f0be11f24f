// The prepared image of a variant is made once and kept. Requests run one after the other, or all at once; then those
// that overlap may take effect in any order, which is what the oracle allows.

#include "support/small_program.h"

#include <fmt/core.h>

#include <array>
#include <map>
#include <optional>
#include <string_view>
#include <unordered_set>

#include "byre/data/disk.h"
#include "byre/storage/memory.h"
#include "byre/storage/simulated.h"
#include "byre/task/sync.h"
#include "support/bytes.h"
#include "support/oracle.h"
#include "support/recovery.h"
#include "support/snapshot_image.h"
#include "support/test_image.h"
#include "support/verify.h"

namespace byre::test {
namespace {

enum class SmallKind { write, zero_keep, zero_unmap, discard, compressed, flush, read };

struct Request {
  SmallKind kind;
  std::uint64_t offset, end;
};

constexpr std::uint64_t cluster_bytes = 512;
constexpr std::uint64_t disk_bytes = 3 * cluster_bytes;

// Whole clusters, a part inside one, a part of two, everything.
constexpr Request requests[] = {
    {SmallKind::write, 0, 512},          {SmallKind::write, 512, 1024},     {SmallKind::write, 128, 256},
    {SmallKind::write, 448, 640},        {SmallKind::write, 0, 1536},       {SmallKind::zero_keep, 0, 512},
    {SmallKind::zero_keep, 448, 640},    {SmallKind::zero_keep, 512, 1536}, {SmallKind::zero_unmap, 0, 512},
    {SmallKind::zero_unmap, 512, 1536},  {SmallKind::discard, 0, 512},      {SmallKind::discard, 448, 1088},
    {SmallKind::discard, 0, 1536},       {SmallKind::compressed, 0, 512},   {SmallKind::compressed, 512, 1024},
    {SmallKind::compressed, 1024, 1536}, {SmallKind::flush, 0, 0},          {SmallKind::read, 0, disk_bytes},
    {SmallKind::zero_keep, 0, 128},      {SmallKind::zero_unmap, 0, 128},   {SmallKind::write, 320, 384},
};

std::string_view kind_name(SmallKind kind) {
  constexpr std::string_view names[] = {"write", "zero", "unmap", "discard", "compressed", "flush", "read"};
  return names[static_cast<std::size_t>(kind)];
}

// Values differ per place in the program, and so in how well they compress.
constexpr std::byte value_at(std::size_t place) { return static_cast<std::byte>(0x11 * (place + 1)); }

Task<Result<void>> perform(Disk& disk, Request request, std::byte value) {
  const std::uint64_t length = request.end - request.offset;
  std::vector<std::byte> data(length);
  fill_units(request.offset, data, value);
  const ConstBytes bytes(data);
  switch (request.kind) {
    case SmallKind::write: co_return co_await disk.write(request.offset, bytes);
    case SmallKind::compressed: co_return co_await disk.write_compressed(request.offset, bytes);
    case SmallKind::zero_keep: co_return co_await disk.write_zeroes(request.offset, length, ZeroMode::keep);
    case SmallKind::zero_unmap: co_return co_await disk.write_zeroes(request.offset, length, ZeroMode::unmap);
    case SmallKind::discard: co_return co_await disk.discard(request.offset, length);
    case SmallKind::flush:
    case SmallKind::read: break;
  }
  co_return co_await disk.flush();
}

struct Prepared {
  TestImage test;
  std::vector<std::byte> image, content;
  bool clears = true;  // a discarded cluster reads as zeros
  std::string failure;
};

Task<Result<void>> use(Disk& disk, bool kept) {
  const Request stored{SmallKind::write, 0, 512};
  const Request packed{SmallKind::compressed, 512, 1024};
  const Request zero{SmallKind::zero_keep, 1024, 1536};
  BYRE_CO_CHECK(co_await perform(disk, stored, std::byte{0xf1}));
  BYRE_CO_CHECK(co_await perform(disk, packed, std::byte{0xf2}));
  if (disk.backing() == nullptr) BYRE_CO_CHECK(co_await perform(disk, zero, std::byte{0}));
  const Request emptied{SmallKind::zero_keep, 0, 512};
  if (kept) BYRE_CO_CHECK(co_await perform(disk, emptied, std::byte{0}));
  co_return co_await disk.close();
}

Prepared prepare(const SmallVariant& variant) {
  Prepared prepared;
  prepared.test.image.geometry = {variant.version, 9, 4};
  prepared.test.image.size_bytes = disk_bytes;
  prepared.test.image.lazy_refcounts = variant.lazy;
  if (variant.backing) {
    prepared.test.image.backing_name = "base";
    prepared.test.backing.resize(disk_bytes - 512 + 256);  // ends within the last cluster
    fill_units(0, prepared.test.backing, std::byte{0xb7});
  }
  prepared.clears = variant.version >= 3 || !variant.backing;
  prepared.image = fresh_image(prepared.test.image);
  EventLoop loop(std::make_unique<SimulatedScheduler>(0));  // nothing waits on memory
  if (variant.used) {
    auto storage = std::make_unique<MemoryStorage>(ConstBytes(prepared.image));
    MemoryStorage* memory = storage.get();
    auto disk = loop.run(open_image(std::move(storage), prepared.test, true));
    if (!disk || !loop.run(use(**disk, variant.kept))) prepared.failure = "the preparation failed";
    prepared.image = memory->content();
  }
  if (variant.snapshot && !add_snapshot(prepared.image, "1")) prepared.failure = "no snapshot";
  if (const Verdict verdict = verify(prepared.image); !verdict.clean()) prepared.failure = verdict.text();
  auto content = loop.run(read_all(ConstBytes(prepared.image), prepared.test));
  if (content) prepared.content = *content;
  return prepared;
}

const Prepared& prepared_image(const SmallVariant& variant) {
  static std::map<std::string, Prepared> all;
  const std::string key = variant.text();
  const auto at = all.find(key);
  return at != all.end() ? at->second : all.emplace(key, prepare(variant)).first->second;
}

class SmallRun {
 public:
  SmallRun(const SmallVariant& variant, const std::vector<unsigned>& program, const SmallOptions& options)
      : variant_(variant), program_(program), options_(options), prepared_(prepared_image(variant)), random_(1) {}

  SmallResult run() {
    if (!prepared_.failure.empty()) return fail(prepared_.failure);
    auto scheduler = std::make_unique<SimulatedScheduler>(0);
    SimulatedScheduler& schedule = *scheduler;
    if (options_.choose) {
      schedule.set_chooser(options_.choose);
    } else {
      schedule.set_chooser([this](std::size_t count) { return variant_.newest_first ? count - 1 : 0; });
    }
    EventLoop loop(std::move(scheduler));
    SimulatedDiskOptions disk_options;
    disk_options.sector_bytes = variant_.sector_bytes;
    auto storage = std::make_unique<SimulatedDisk>(schedule, disk_options, prepared_.image);
    storage_ = storage.get();
    auto disk = loop.run(open_image(std::move(storage), prepared_.test, true));
    if (!disk) return fail("open: " + disk.error().message());
    oracle_.emplace(prepared_.content);
    schedule.set_before_pick([this] { before_pick(); });
    loop.run(run_program(**disk));
    schedule.set_before_pick(nullptr);
    if (result_.failure.empty()) examine_closed();
    return std::move(result_);
  }

 private:
  SmallResult fail(const std::string& text) {
    if (result_.failure.empty()) {
      result_.failure = fmt::format("{}; {}: {}", variant_.text(), small_program_text(program_), text);
    }
    return result_;
  }

  // The bytes that a request surely changes.
  Request effect(const Request& request) const {
    Request changed = request;
    if (request.kind == SmallKind::flush || request.kind == SmallKind::read) changed.end = changed.offset;
    if (request.kind != SmallKind::discard) return changed;
    changed.offset = (request.offset + cluster_bytes - 1) / cluster_bytes * cluster_bytes;
    changed.end =
        prepared_.clears ? std::max(changed.offset, request.end / cluster_bytes * cluster_bytes) : changed.offset;
    return changed;
  }

  Task<Result<void>> run_program(Disk& disk) {
    if (options_.choose) {
      examines_ = true;
      TaskGroup all;
      for (std::size_t i = 0; i < program_.size(); ++i) all.start(one(disk, requests[program_[i]], value_at(i)));
      co_await all.join();
    }
    for (std::size_t i = 0; !options_.choose && i < program_.size() && result_.failure.empty(); ++i) {
      examines_ = i + 1 == program_.size();
      co_await one(disk, requests[program_[i]], value_at(i));
    }
    const std::uint64_t since = oracle_->now();
    co_await read_and_check(disk);
    const auto closed = co_await disk.close();
    if (!closed) fail("close: " + closed.error().message());
    oracle_->flushed(since);
    co_return Result<void>{};
  }

  Task<void> read_and_check(Disk& disk) {
    std::vector<std::byte> content(disk_bytes);
    const std::uint64_t since = oracle_->now();
    const Bytes target(content);
    const auto done = co_await disk.read(0, target);
    if (!done) fail("read: " + done.error().message());
    if (const auto wrong = oracle_->check_running(content, since)) fail(oracle_->explain(*wrong, content));
  }

  Task<Result<void>> one(Disk& disk, Request request, std::byte value) {
    if (request.kind == SmallKind::read) {
      co_await read_and_check(disk);
      co_return Result<void>{};
    }
    const Request changed = effect(request);
    const bool writes = request.kind == SmallKind::write || request.kind == SmallKind::compressed;
    const std::uint64_t issued = oracle_->now();
    const std::size_t ticket =
        oracle_->issue(changed.offset, changed.end - changed.offset, writes ? value : std::byte{0});
    const auto done = co_await perform(disk, request, value);
    if (done) {
      oracle_->acknowledge(ticket);
      if (request.kind == SmallKind::flush) oracle_->flushed(issued);
      if (request.kind == SmallKind::flush) good_.clear();
    } else if (request.kind == SmallKind::compressed) {
      oracle_->withdraw(ticket);  // only what is not allocated can be written so
      good_.clear();
    } else {
      fail("request: " + done.error().message());
    }
    co_return Result<void>{};
  }

  void before_pick() {
    if (!examines_ || !result_.failure.empty()) return;
    if (options_.choose) return examine_one();
    ++result_.moments;
    const std::uint64_t count = storage_->crash_state_count(options_.states_of_a_moment + 1);
    const bool all = count <= options_.states_of_a_moment;
    if (!all) ++result_.sampled_moments;
    for (std::uint64_t i = 0; i < (all ? count : options_.samples) && result_.failure.empty(); ++i) {
      if (all)
        storage_->crash_image(i, crash_);
      else
        storage_->crash_image(random_, CrashMode::random_subset, crash_);
      ++result_.states;
      if (good_.insert(hash_bytes(crash_)).second) examine(i);
    }
  }

  void examine_one() {
    if (!random_.one_in(32)) return;
    ++result_.moments;
    storage_->crash_image(random_, CrashMode::random_subset, crash_);
    examine(0);
  }

  void examine(std::uint64_t index) {
    ++result_.examined;
    const auto where = [&] { return fmt::format("moment {}, state {}: ", result_.moments, index); };
    const Verdict verdict = verify(crash_);
    if (!verdict.sound()) return (void)fail(where() + verdict.text());
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));  // nothing waits on memory
    const auto content = read(loop, {});
    if (!content) return (void)fail(where() + content.error().message());
    if (const auto wrong = oracle_->check_crashed(*content)) fail(where() + oracle_->explain(*wrong, *content));
    Expected expected{*content, {}};
    if (variant_.snapshot) {
      const auto snapshot = read(loop, "1");
      if (!snapshot || *snapshot != prepared_.content) fail(where() + "the snapshot reads differently");
      expected.snapshot = prepared_.content;
    }
    if (!verdict.dirty || !random_.one_in(64)) return;
    const std::string wrong = crash_during_repair(crash_, prepared_.test, expected, random_.next());
    if (!wrong.empty()) fail(where() + wrong);
  }

  Result<std::vector<std::byte>> read(EventLoop& loop, std::optional<std::string> snapshot) {
    return loop.run(read_all(ConstBytes(crash_), prepared_.test, std::move(snapshot)));
  }

  void examine_closed() {
    storage_->crash_image(0, crash_);
    if (const Verdict verdict = verify(crash_); !verdict.clean() || verdict.dirty) {
      fail("closed: " + verdict.text());
    }
    examine(0);
    --result_.examined;  // no crash
  }

  const SmallVariant variant_;
  const std::vector<unsigned>& program_;
  const SmallOptions options_;
  const Prepared& prepared_;
  SimulatedRandom random_;
  SimulatedDisk* storage_ = nullptr;
  std::optional<Oracle> oracle_;
  std::unordered_set<std::size_t> good_;
  std::vector<std::byte> crash_;
  SmallResult result_;
  bool examines_ = false;
};

}  // namespace

std::string SmallVariant::text() const {
  return fmt::format("version {}{}{}{}{}{}, sectors of {}{}", version, backing ? ", backing file" : "",
                     used ? ", used" : ", empty", snapshot ? ", snapshot" : "", lazy ? ", lazy" : "",
                     kept ? ", kept zero" : "", sector_bytes, newest_first ? ", newest first" : "");
}

bool SmallVariant::same_image(const SmallVariant& other) const {
  return version == other.version && backing == other.backing && used == other.used && snapshot == other.snapshot &&
         lazy == other.lazy && kept == other.kept;
}

std::vector<SmallVariant> small_variants() {
  struct Use {
    bool used, snapshot, lazy;
  };
  constexpr Use uses[] = {
      {false, false, false}, {true, false, false}, {true, true, false}, {true, false, true}, {true, true, true}};
  std::vector<SmallVariant> all;
  for (const unsigned version : {2u, 3u}) {
    for (const bool backing : {false, true}) {
      for (const Use& use : uses) {
        if (use.lazy && version == 2) continue;
        SmallVariant variant;
        variant.version = version;
        variant.backing = backing;
        variant.used = use.used;
        variant.snapshot = use.snapshot;
        variant.lazy = use.lazy;
        all.push_back(variant);
      }
    }
  }
  return all;
}

std::uint64_t small_request_count() { return small_read; }

std::vector<unsigned> small_requests_by_kind() {
  std::vector<unsigned> all;
  for (unsigned number = 0; number < std::size(requests); ++number) {
    const Request& request = requests[number];
    const bool wide = request.end - request.offset >= 1024 || request.kind == SmallKind::flush;
    const bool packed = request.kind == SmallKind::compressed && request.offset == 512;
    if (wide || packed) all.push_back(number);
  }
  return all;
}

std::vector<unsigned> small_requests_in_one_cluster() {
  std::vector<unsigned> all;
  for (unsigned number = 0; number < std::size(requests); ++number) {
    const Request& request = requests[number];
    const bool inside = request.end > 0 && request.end <= cluster_bytes;
    const bool whole = request.end - request.offset == cluster_bytes;
    if (inside && (!whole || request.kind == SmallKind::zero_unmap)) all.push_back(number);
  }
  return all;
}

std::string small_program_text(const std::vector<unsigned>& program) {
  std::string text;
  for (const unsigned number : program) {
    const Request& request = requests[number];
    text += fmt::format("{}{} {}..{}", text.empty() ? "" : ", ", kind_name(request.kind), request.offset, request.end);
  }
  return text;
}

void SmallResult::add(const SmallResult& other) {
  moments += other.moments;
  sampled_moments += other.sampled_moments;
  states += other.states;
  examined += other.examined;
}

SmallResult run_small_program(const SmallVariant& variant, const std::vector<unsigned>& program,
                              const SmallOptions& options) {
  return SmallRun(variant, program, options).run();
}

}  // namespace byre::test
