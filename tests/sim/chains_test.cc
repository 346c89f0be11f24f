// Commit, stream and rebase over several files, under crashes, faults and interruptions: the disk on top reads the same
// at every moment, each file is sound, and the operation can be run again. A failure prints the seed and how to repeat
// it.

#include <gtest/gtest.h>

#include <array>

#include "byre/ops/chain.h"
#include "byre/storage/memory.h"
#include "byre/storage/simulated.h"
#include "format/header.h"
#include "support/fresh_image.h"
#include "support/seeded_runs.h"
#include "support/verify.h"

namespace byre::test {
namespace {

using Content = std::vector<std::byte>;
using DiskPointer = std::unique_ptr<Disk>;

constexpr std::array<const char*, 3> names = {"base", "mid", "top"};

enum class Kind { commit, commit_below, stream, stream_to_base, rebase_to_none, rebase_to_base };
constexpr std::uint64_t kinds = 6;

Task<Result<DiskPointer>> open_layer(std::unique_ptr<Storage> storage, bool raw, bool writable, DiskPointer backing) {
  OpenOptions options;
  options.format = raw ? "raw" : "qcow2";
  options.writable = writable;
  options.backing.follow = false;
  co_return co_await open_disk(std::move(storage), options, std::move(backing));
}

Task<Result<Content>> read_whole(Disk& disk) {
  Content content(disk.size_bytes());
  const Bytes target(content);
  BYRE_CO_CHECK(co_await disk.read(0, target));
  co_return content;
}

Task<Result<void>> write_some(Disk& disk, SimulatedRandom& random, unsigned requests) {
  for (unsigned i = 0; i < requests; ++i) {
    const std::uint64_t offset = random.below(disk.size_bytes() / 512) * 512;
    const std::uint64_t length = std::min(disk.size_bytes() - offset, 512 * (1 + random.below(24)));
    if (random.one_in(4)) {
      BYRE_CO_CHECK(co_await disk.write_zeroes(offset, length, ZeroMode::unmap));
      continue;
    }
    const Content data(length, static_cast<std::byte>(1 + random.below(255)));
    const ConstBytes bytes(data);
    BYRE_CO_CHECK(co_await disk.write(offset, bytes));
  }
  co_return Result<void>{};
}

class ChainRun {
 public:
  ChainRun(std::uint64_t seed, std::size_t faulty_file, FaultPlan fault)
      : seed_(seed), faulty_file_(faulty_file), fault_(fault), random_(seed * 2 + 1) {}

  void run() {
    prepare();
    kind_ = static_cast<Kind>(random_.below(kinds));
    const auto expected = view(images_);
    if (!expected) return fail("preparation: " + expected.error().message());
    content_ = *expected;
    attempt(fault_);
    if (failure.empty() && failed_) attempt({});
    if (failure.empty() && failed_) fail("it fails without a fault, too");
    if (failure.empty()) look_at_the_end();
  }

  std::string failure;
  std::uint64_t crash_states = 0;
  std::array<std::uint64_t, 3> operations = {};  // on each file, without a fault

 private:
  void fail(const std::string& text) {
    if (failure.empty()) failure = "operation " + std::to_string(static_cast<int>(kind_)) + ": " + text;
  }

  bool is_raw(std::size_t file) const { return file == 0 && raw_base_; }

  void prepare() {
    raw_base_ = random_.one_in(3);
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));
    for (std::size_t file = 0; file < names.size(); ++file) {
      const std::uint64_t size = 512 * (1 + random_.below(200));
      FreshImageOptions options;
      options.geometry.version = random_.one_in(4) ? 2 : 3;
      options.geometry.cluster_bits = static_cast<unsigned>(9 + random_.below(3));
      options.size_bytes = size;
      if (file > 0) options.backing_name = names[file - 1];
      images_[file] = is_raw(file) ? Content(size) : fresh_image(options);
      auto below = open_in_memory(loop, images_, file == 0 ? none : file - 1);
      auto storage = std::make_unique<MemoryStorage>(ConstBytes(images_[file]));
      MemoryStorage* memory = storage.get();
      auto disk = loop.run(open_layer(std::move(storage), is_raw(file), true, std::move(below)));
      if (!disk) return fail("preparation: " + disk.error().message());
      auto done = loop.run(write_some(**disk, random_, 6));
      if (done) done = loop.run((*disk)->close());
      if (!done) return fail("preparation: " + done.error().message());
      images_[file] = memory->content();
    }
  }

  // What the header of a file names: 0 or 1, or `none`.
  static constexpr std::size_t none = 9;
  std::size_t named_by(const Content& image) const {
    const auto header = format::decode_header(image, image.size(), format::HeaderUse::read);
    if (!header) return none;
    for (std::size_t file = 0; file < names.size(); ++file) {
      if (header->backing_name == names[file]) return file;
    }
    return none;
  }

  DiskPointer open_in_memory(EventLoop& loop, const std::array<Content, 3>& images, std::size_t file) {
    if (file == none) return nullptr;
    const std::size_t below = is_raw(file) ? none : named_by(images[file]);
    DiskPointer backing = open_in_memory(loop, images, below);
    auto disk = loop.run(
        open_layer(std::make_unique<MemoryStorage>(ConstBytes(images[file])), is_raw(file), false, std::move(backing)));
    if (disk) return std::move(*disk);
    fail(std::string(names[file]) + ": " + disk.error().message());
    return nullptr;
  }

  Result<Content> view(const std::array<Content, 3>& images) {
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));
    const DiskPointer top = open_in_memory(loop, images, 2);
    if (!top) return std::unexpected(Error(ErrorCode::io, failure));
    auto content = loop.run(read_whole(*top));
    if (auto closed = loop.run(top->close()); !closed) return std::unexpected(closed.error());
    return content;
  }

  void examine(const std::array<Content, 3>& images, const std::string& where) {
    for (std::size_t file = 0; file < names.size(); ++file) {
      if (is_raw(file)) continue;
      const Verdict verdict = verify(images[file], Counts::judged);
      if (!verdict.sound()) return fail(where + ", " + names[file] + ": " + verdict.text());
    }
    const auto content = view(images);
    if (!content) return fail(where + ": " + content.error().message());
    if (*content != content_) fail(where + ": the disk reads differently");
  }

  void crash() {
    static constexpr CrashMode modes[] = {CrashMode::random_subset, CrashMode::prefix_in_order, CrashMode::everything};
    for (const CrashMode mode : modes) {
      if (!failure.empty()) return;
      for (std::size_t file = 0; file < names.size(); ++file) {
        if (disks_[file]) disks_[file]->crash_image(random_, mode, crashed_[file]);
      }
      ++crash_states;
      examine(crashed_, "crash state " + std::to_string(crash_states));
    }
  }

  bool is_written(std::size_t file) const {
    if (file == 2) return kind_ != Kind::commit_below;
    return file == (kind_ == Kind::commit ? 1U : 0U) && (kind_ == Kind::commit || kind_ == Kind::commit_below);
  }

  void attempt(const FaultPlan& fault) {
    auto scheduler = std::make_unique<SimulatedScheduler>(seed_);
    SimulatedScheduler& schedule = *scheduler;
    EventLoop loop(std::move(scheduler));
    SimulatedDiskOptions options;
    options.flush_errors_stick = false;
    DiskPointer chain;
    for (std::size_t file = 0; file < names.size(); ++file) {
      if (file == 1 && named_by(images_[2]) != 1) continue;  // an earlier attempt has done it
      if (file == 0 && named_by(images_[2]) == none) continue;
      auto storage = std::make_unique<SimulatedDisk>(schedule, options, images_[file]);
      disks_[file] = storage.get();
      auto disk = loop.run(open_layer(std::move(storage), is_raw(file), is_written(file), std::move(chain)));
      if (!disk) return fail("open: " + disk.error().message());
      chain = std::move(*disk);
      layers_[file] = chain.get();
    }
    crashed_ = images_;
    if (disks_[faulty_file_]) disks_[faulty_file_]->set_fault(fault);
    const auto before = counts();
    schedule.set_before_pick([this] { crash(); });
    auto done = loop.run(operate(chain));
    schedule.set_before_pick(nullptr);
    const auto after = counts();
    for (std::size_t file = 0; file < names.size(); ++file) operations[file] = after[file] - before[file];
    if (disks_[faulty_file_]) disks_[faulty_file_]->set_fault({});
    failed_ = !done.has_value();
    if (failed_ && fault.nth == 0) fail(done.error().message());
    const auto closed = loop.run(chain->close());
    if (!closed && fault.nth == 0) fail("close: " + closed.error().message());
    for (std::size_t file = 0; file < names.size(); ++file) {
      SimulatedRandom unused(0);
      if (disks_[file]) disks_[file]->crash_image(unused, CrashMode::everything, images_[file]);
      disks_[file] = nullptr;
      layers_[file] = nullptr;
    }
  }

  std::array<std::uint64_t, 3> counts() const {
    std::array<std::uint64_t, 3> all = {};
    for (std::size_t file = 0; file < names.size(); ++file) {
      if (disks_[file]) all[file] = disks_[file]->operation_count();
    }
    return all;
  }

  // Every second run makes each step durable.
  ChainOptions options() const {
    ChainOptions all;
    if (seed_ % 2 == 0) {
      all.checkpoint_bytes = 1;
      all.checkpoint_time = {};
    }
    return all;
  }

  Task<Result<void>> operate(DiskPointer& chain) {
    Disk& top = *chain;
    if (kind_ == Kind::commit || kind_ == Kind::commit_below) {
      CommitChain commit;
      commit.top = std::move(chain);
      commit.base = layers_[kind_ == Kind::commit ? 1 : 0];
      commit.empties = kind_ == Kind::commit;
      auto done = co_await commit_disk(commit, options());
      chain = std::move(commit.top);
      co_return done;
    }
    Disk* const base = layers_[0];
    if (kind_ == Kind::stream) co_return co_await stream_disk(top, nullptr, "", options());
    if (kind_ == Kind::rebase_to_none) co_return co_await rebase_disk(top, nullptr, "", "", options());
    const std::string format = is_raw(0) ? "raw" : "qcow2";
    if (kind_ == Kind::stream_to_base) co_return co_await stream_disk(top, base, "base", options());
    co_return co_await rebase_disk(top, base, "base", format, options());
  }

  void look_at_the_end() {
    examine(images_, "ended");
    for (std::size_t file = 0; file < names.size() && failure.empty(); ++file) {
      if (is_raw(file)) continue;
      const Verdict verdict = verify(images_[file]);
      if (verdict.dirty || (fault_.nth == 0 && verdict.leaks > 0))
        fail(std::string(names[file]) + ": " + verdict.text());
    }
    const std::size_t wanted = kind_ == Kind::stream || kind_ == Kind::rebase_to_none ? none
                               : kind_ == Kind::commit || kind_ == Kind::commit_below ? 1
                                                                                      : 0;
    if (failure.empty() && named_by(images_[2]) != wanted) fail("the top names another backing file");
    if (kind_ == Kind::commit || kind_ == Kind::commit_below) look_at_the_base();
  }

  // The base reads as the top does, as far as that goes, and an emptied top holds nothing.
  void look_at_the_base() {
    EventLoop loop(std::make_unique<SimulatedScheduler>(0));
    const DiskPointer base = open_in_memory(loop, images_, kind_ == Kind::commit ? 1 : 0);
    if (!base) return;
    auto content = loop.run(read_whole(*base));
    if (!content) return fail("base: " + content.error().message());
    content->resize(content_.size());
    if (*content != content_) fail("the base does not read as the top does");
    [[maybe_unused]] const auto closed = loop.run(base->close());
    if (kind_ != Kind::commit || !failure.empty()) return;
    const DiskPointer top = open_in_memory(loop, images_, 2);
    if (!top) return;
    for (std::uint64_t at = 0; at < top->size_bytes();) {
      const auto status = loop.run(top->layer_status(at, top->size_bytes() - at));
      if (!status || status->present) return fail("the top is not empty after a commit");
      at += status->length_bytes;
    }
    [[maybe_unused]] const auto top_closed = loop.run(top->close());
  }

  std::uint64_t seed_;
  std::size_t faulty_file_;
  FaultPlan fault_;
  SimulatedRandom random_;
  bool raw_base_ = false;
  Kind kind_ = Kind::commit;
  std::array<Content, 3> images_, crashed_;
  Content content_;
  std::array<SimulatedDisk*, 3> disks_ = {};
  std::array<Disk*, 3> layers_ = {};
  bool failed_ = false;
};

SeededOutcome run_chain(std::uint64_t seed, std::size_t file, const FaultPlan& fault) {
  ChainRun run(seed, file, fault);
  run.run();
  return {run.failure, run.crash_states, {run.operations.begin(), run.operations.end()}};
}

TEST(Chains, EveryCrashPointLeavesTheDiskAsItReads) {
  run_until(9'000'000, 10'000, run_chain);
  expect_passed({"ops: what a long copy has done becomes durable"});
}
TEST(Chains, AFaultAtAnyOperationLeavesTheDiskAsItReads) { fail_every_operation(9'500'000, 6, true, run_chain); }
TEST(NightlyChains, EveryCrashPointLeavesTheDiskAsItReads) { run_until(90'000'000, 200'000, run_chain); }
TEST(NightlyChains, AFaultAtAnyOperationLeavesTheDiskAsItReads) {
  fail_every_operation(95'000'000, 200, true, run_chain);
}

}  // namespace
}  // namespace byre::test
