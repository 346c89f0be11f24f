// The copy loop: one coroutine walks over the plan and starts a coroutine per window. A window is read whole, cut into
// runs, and its writes are started when those of all windows before it have been, so that clusters are allocated in
// the order of the guest and the layout does not depend on which read was faster. A window ends when its writes do.
//
// Left out: no pipelining within a window; with several windows in flight the disks are busy anyway.
#include "byre/ops/copy.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>

#include "base/math.h"
#include "base/text.h"
#include "byre/task/sync.h"
#include "format/compression.h"
#include "format/limits.h"
#include "ops/buffer_pool.h"
#include "ops/copy_plan.h"
#include "ops/copy_runs.h"
#include "ops/pace.h"
#include "ops/shareable.h"

namespace byre {

namespace {

using ops::BufferPool;
using ops::CloneFinder;
using ops::CloneRules;
using ops::CopyPiece;
using ops::CopyPlan;
using ops::CopyPlanRules;
using ops::CopyRun;
using ops::CopyRunRules;
using ops::CopyWindow;
using ops::ImageSequence;
using ops::Pace;

static_assert(most_compression_level == unsigned{format::most_level});

using format::sector_bytes;
constexpr std::uint64_t smallest_window_bytes = 512 << 10;
constexpr std::uint64_t largest_window_bytes = 2 << 20;  // no cluster is larger

std::uint64_t largest_cluster_bytes(Disk* disk) {
  std::uint64_t largest = 0;
  for (; disk != nullptr; disk = disk->backing()) largest = std::max(largest, disk->cluster_size_bytes());
  return largest;
}

// Small enough that what was read is still in the processor's cache when it is written; large enough for any one
// cluster, so that no compressed one is unpacked twice, and for the runs of zeros that are looked for. The compressor
// works on all processors: it gets more at a time.
std::uint64_t window_bytes_for(const std::vector<Disk*>& sources, std::uint64_t unit_bytes,
                               const CopyOptions& options) {
  if (options.compress) return largest_window_bytes;
  std::uint64_t wanted = std::max(unit_bytes, options.sparse_bytes);
  for (Disk* disk : sources) wanted = std::max(wanted, largest_cluster_bytes(disk));
  return std::clamp(std::bit_ceil(wanted), smallest_window_bytes, largest_window_bytes);
}

class Copier {
 public:
  Copier(const std::vector<Disk*>& sources, Disk& target, CopyOptions options);
  Task<Result<void>> run();

 private:
  Task<Result<void>> walk();
  Task<Result<void>> find_clones();
  Task<Result<void>> copy_window(CopyWindow window);
  Task<Result<void>> clone_pieces(const CopyWindow& window);
  Task<Result<void>> copy_pieces(const CopyWindow& window);
  Task<Result<void>> load(ImageSequence& from, const CopyWindow& window, bool CopyPiece::* is_zero, Bytes buffer);
  Task<Result<void>> write_runs(const CopyWindow& window, ConstBytes content, ConstBytes existing);
  CopyPlanRules plan_rules() const;
  bool compares() const;
  void report_progress();

  CopyOptions options_;
  Disk& target_;
  const CopyRunRules run_rules_;
  std::uint64_t window_bytes_;
  BufferPool buffers_;
  ImageSequence source_images_;
  ImageSequence target_image_;
  CopyPlan plan_;
  Turnstile turnstile_;
  TaskGroup group_;
  Pace pace_;
  std::uint64_t copied_bytes_ = 0;
  std::uint64_t in_flight_bytes_ = 0;
};

Copier::Copier(const std::vector<Disk*>& sources, Disk& target, CopyOptions options)
    : options_(std::move(options)),
      target_(target),
      run_rules_(ops::copy_run_rules(target, options_)),
      window_bytes_(window_bytes_for(sources, run_rules_.unit_bytes, options_)),
      buffers_(window_bytes_),
      source_images_(sources),
      target_image_({&target}),
      plan_(source_images_, target_image_, plan_rules()),
      pace_(options_.bytes_per_second, options_.cancel) {}

CopyPlanRules Copier::plan_rules() const {
  CopyPlanRules rules;
  rules.total_bytes = std::min(source_images_.size_bytes(), target_.size_bytes());
  rules.unit_bytes = run_rules_.unit_bytes;
  rules.window_bytes = window_bytes_;
  rules.target_content = options_.target_content;
  rules.detect_zeros = options_.sparse_bytes != 0;
  return rules;
}

bool Copier::compares() const {
  return options_.target_content == TargetContent::compared || options_.target_content == TargetContent::same_below;
}

void Copier::report_progress() {
  if (!options_.progress) return;
  options_.progress(plan_.position_bytes() - in_flight_bytes_, plan_rules().total_bytes);
}

// Fills the buffer with the content of the window. Neighbouring pieces are read at once.
Task<Result<void>> Copier::load(ImageSequence& from, const CopyWindow& window, bool CopyPiece::* is_zero,
                                Bytes buffer) {
  TaskGroup reads;
  for (std::size_t i = 0; i < window.pieces.size();) {
    const bool zero = window.pieces[i].*is_zero;
    const std::uint64_t offset = window.pieces[i].offset_bytes;
    std::size_t length = 0;
    for (; i < window.pieces.size() && window.pieces[i].*is_zero == zero; ++i) length += window.pieces[i].length_bytes;
    const Bytes part = buffer.subspan(offset - window.offset_bytes, length);
    if (zero) {
      std::memset(part.data(), 0, part.size());
    } else {
      reads.start(from.read(offset, part));
    }
  }
  co_return co_await reads.join();
}

Task<Result<void>> Copier::write_runs(const CopyWindow& window, ConstBytes content, ConstBytes existing) {
  const std::vector<CopyRun> runs = copy_runs(content, existing, run_rules_);
  if (!options_.out_of_order) co_await turnstile_.wait_for(window.ticket);
  TaskGroup writes;
  for (const CopyRun& run : runs) {
    if (writes.failed() || group_.failed()) break;
    ops::start_run(writes, target_, window.offset_bytes, content, run, options_.compress);
  }
  if (!options_.out_of_order) turnstile_.pass();
  co_return co_await writes.join();
}

Task<Result<void>> Copier::copy_pieces(const CopyWindow& window) {
  BufferPool::Loan content_loan = buffers_.take();
  const Bytes content = content_loan.first(window.length_bytes);
  Result<void> loaded = co_await load(source_images_, window, &CopyPiece::source_is_zero, content);
  if (loaded && compares()) {
    BufferPool::Loan existing_loan = buffers_.take();
    const Bytes existing = existing_loan.first(window.length_bytes);
    loaded = co_await load(target_image_, window, &CopyPiece::target_is_zero, existing);
    if (loaded) co_return co_await write_runs(window, content, existing);
  } else if (loaded) {
    co_return co_await write_runs(window, content, ConstBytes());
  }
  if (!options_.out_of_order) {
    co_await turnstile_.wait_for(window.ticket);
    turnstile_.pass();
  }
  co_return loaded;
}

Task<Result<void>> Copier::clone_pieces(const CopyWindow& window) {
  if (!options_.out_of_order) co_await turnstile_.wait_for(window.ticket);
  TaskGroup clones;
  const std::span<const ClonePiece> pieces = window.clones;
  if (!group_.failed()) clones.start(target_.clone(window.offset_bytes, window.length_bytes, pieces));
  if (!options_.out_of_order) turnstile_.pass();
  co_return co_await clones.join();
}

Task<Result<void>> Copier::copy_window(CopyWindow window) {
  Result<void> done;
  if (!window.clones.empty()) {
    done = co_await clone_pieces(window);
  } else if (window.all_zero) {
    if (!options_.out_of_order) {
      co_await turnstile_.wait_for(window.ticket);
      turnstile_.pass();
    }
    done = co_await target_.write_zeroes(window.offset_bytes, window.length_bytes, ZeroMode::unmap);
  } else {
    done = co_await copy_pieces(window);
  }
  in_flight_bytes_ -= window.length_bytes;
  report_progress();
  co_return done;
}

Task<Result<void>> Copier::walk() {
  const std::size_t others = std::max(options_.parallel_requests, 1u) - 1;
  while (!group_.failed()) {
    if (options_.cancel && options_.cancel->load()) co_return fail(ErrorCode::cancelled, "interrupted");
    BYRE_CO_TRY(std::optional<CopyWindow> window, co_await plan_.next());
    if (!window) break;
    co_await group_.wait_below(others);
    co_await pace_.wait_for(copied_bytes_);
    if (!window->pieces.empty()) copied_bytes_ += window->length_bytes;
    in_flight_bytes_ += window->length_bytes;
    group_.start(copy_window(std::move(*window)));
  }
  co_return Result<void>();
}

// What the file system can share is found out before the first window.
Task<Result<void>> Copier::find_clones() {
  const bool possible = options_.target_content == TargetContent::zeros && ops::may_share(options_);
  const bool must = options_.reflink == Reflink::always;
  Storage& storage = target_.storage();
  if (must) BYRE_CO_CHECK(check_shareable_sizes(source_images_, storage, target_.cluster_size_bytes()));
  if (!possible || target_.clone_unit_bytes() == 0) {
    if (!must) co_return Result<void>();
    co_return fail(ErrorCode::unsupported, "{}: such a target cannot share blocks with a source",
                   escape_untrusted(storage.name(), 4096));
  }
  CloneRules rules;
  rules.total_bytes = plan_rules().total_bytes;
  rules.unit_bytes = std::max<std::uint64_t>(run_rules_.unit_bytes, target_.clone_unit_bytes());
  rules.block_bytes = storage.clone_block_bytes();
  rules.least_piece_bytes = must ? 0 : ops::least_clone_bytes;
  BYRE_CO_TRY(std::set<const Storage*> storages, co_await find_shareable(source_images_, storage, must));
  if (!storages.empty()) plan_.share(CloneFinder(source_images_, rules, std::move(storages)));
  co_return Result<void>();
}

Task<Result<void>> Copier::run() {
  const std::uint64_t wanted = source_images_.size_bytes();
  const std::uint64_t available = round_up(target_.size_bytes(), sector_bytes);
  if (wanted > available) {
    co_return fail(ErrorCode::invalid_argument,
                   "the target is smaller than the source: {} bytes, but {} bytes are to be copied", available, wanted);
  }
  BYRE_CO_CHECK(co_await find_clones());
  const Result<void> walked = co_await walk();
  const Result<void> joined = co_await group_.join();
  report_progress();
  co_return walked ? joined : walked;
}

}  // namespace

std::uint64_t copy_size_bytes(const std::vector<Disk*>& sources) { return ImageSequence(sources).size_bytes(); }

Task<Result<void>> copy_disks(std::vector<Disk*> sources, Disk& target, CopyOptions options) {
  target.set_compression_level(options.compression_level);
  Copier copier(sources, target, std::move(options));
  co_return co_await copier.run();
}

}  // namespace byre
