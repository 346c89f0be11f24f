// States are the snapshots and the disk itself. They are copied side by side: for the range of each L2 table of the
// target, what the states have there is sorted into variants (state_tables.h), each of which is copied once, in the
// order of the guest; then come the tables, one for each group of states that have the same. VM states follow, each by
// itself.
//
// Leaves out: sharing between different guest offsets, and between VM states; a backing file of the target.

#include "ops/state_copy.h"

#include <algorithm>
#include <deque>
#include <set>

#include "base/endian.h"
#include "base/math.h"
#include "base/text.h"
#include "byre/task/sync.h"
#include "data/image_writer.h"
#include "format/entry.h"
#include "ops/clone_finder.h"
#include "ops/image_sequence.h"
#include "ops/image_states.h"
#include "ops/shareable.h"
#include "ops/state_tables.h"
#include "ops/variant_copy.h"

namespace byre::ops {
namespace {

constexpr std::uint64_t source_entries_at_once = 8192;

class StateCopier {
 public:
  StateCopier(Qcow2Disk& source, Storage& target, format::Header header, CopyOptions options)
      : source_(source),
        writer_(target, std::move(header)),
        geometry_(writer_.geometry()),
        options_(std::move(options)),
        copy_(writer_, options_) {}

  Task<Result<void>> run();

 private:
  Task<Result<void>> open_states();
  Task<Result<void>> find_clones();
  Task<Result<void>> copy_range(std::uint64_t index);
  Task<Result<void>> add_variants(const std::vector<StateGroup>& groups, StateChunk& chunk);
  Task<Result<void>> copy_chunk(std::vector<StateGroup>& groups, GuestRange range,
                                std::vector<std::vector<std::uint64_t>>& tables);
  Task<Result<bool>> reads_zero(const StateGroup& group, GuestRange range);
  Task<Result<ClonePiece>> clone_of(const StateGroup& group, GuestRange range);
  Task<Result<void>> write_tables(const std::vector<StateGroup>& groups, std::uint64_t index,
                                  const std::vector<std::vector<std::uint64_t>>& tables);
  Task<Result<void>> copy_vm_state(std::size_t state);
  Task<Result<void>> copy_vm_range(std::size_t state, GuestRange range);
  std::uint64_t vm_state_bytes(std::size_t state) const;
  Result<void> check_cancelled() const;
  void report_progress(std::uint64_t done_bytes);
  bool is_active(std::size_t state) const { return state + 1 == states_.size(); }

  Qcow2Disk& source_;
  ImageWriter writer_;
  const format::Geometry geometry_;  // of the target
  const CopyOptions options_;
  VariantCopy copy_;
  std::vector<format::Snapshot> snapshots_;
  std::vector<std::unique_ptr<Qcow2Disk>> opened_;
  std::vector<Qcow2Disk*> states_;  // the snapshots, then the source
  std::deque<ImageSequence> sequences_;
  std::deque<StatusCursor> statuses_;
  std::deque<CloneFinder> clones_;              // for each state, if anything can be shared
  std::vector<std::vector<std::uint64_t>> l1_;  // of the target, for each state
  std::uint64_t longest_bytes_ = 0;
};

Result<void> StateCopier::check_cancelled() const {
  if (options_.cancel && options_.cancel->load()) return fail(ErrorCode::cancelled, "interrupted");
  return {};
}

void StateCopier::report_progress(std::uint64_t done_bytes) {
  if (options_.progress) options_.progress(std::min(done_bytes, longest_bytes_), longest_bytes_);
}

Task<Result<void>> StateCopier::open_states() {
  BYRE_CO_TRY(ImageStates states, co_await ops::open_states(source_));
  snapshots_ = std::move(states.snapshots);
  opened_ = std::move(states.opened);
  states_ = std::move(states.disks);
  for (Qcow2Disk* const state : states_) {
    statuses_.emplace_back(sequences_.emplace_back(std::vector<Disk*>{state}));
    l1_.emplace_back(geometry_.required_l1_entries(state->size_bytes()));
    longest_bytes_ = std::max(longest_bytes_, state->size_bytes());
  }
  co_return Result<void>{};
}

// The snapshots lie in the same files as the disk.
Task<Result<void>> StateCopier::find_clones() {
  const std::uint64_t cluster_bytes = geometry_.cluster_size_bytes();
  const std::uint64_t block = writer_.storage().clone_block_bytes();
  const ImageSequence& images = sequences_.back();
  const bool must = options_.reflink == Reflink::always;
  if (must) BYRE_CO_CHECK(check_shareable_sizes(images, writer_.storage(), cluster_bytes));
  if (!may_share(options_) || (!must && (block == 0 || cluster_bytes < std::max(block, least_clone_bytes)))) {
    co_return Result<void>{};
  }
  BYRE_CO_TRY(const std::set<const Storage*> storages, co_await find_shareable(images, writer_.storage(), must));
  for (ImageSequence& sequence : sequences_) {
    CloneRules rules;
    rules.total_bytes = sequence.size_bytes();
    rules.unit_bytes = cluster_bytes;
    rules.block_bytes = block;
    clones_.emplace_back(sequence, rules, storages);
  }
  co_return Result<void>{};
}

Task<Result<bool>> StateCopier::reads_zero(const StateGroup& group, GuestRange range) {
  StatusCursor& cursor = statuses_[group.states.front()];
  for (std::uint64_t at = range.offset_bytes; at < range.end_bytes();) {
    BYRE_CO_TRY(const BlockStatus status, co_await cursor.at(at));
    if (!status.zero) co_return false;
    at += status.length_bytes;
  }
  co_return true;
}

// What fills a whole cluster from one place.
Task<Result<ClonePiece>> StateCopier::clone_of(const StateGroup& group, GuestRange range) {
  if (clones_.empty() || range.length_bytes != geometry_.cluster_size_bytes()) co_return ClonePiece{};
  BYRE_CO_TRY(ClonePiece piece, co_await clones_[group.states.front()].piece_at(range.offset_bytes, range.end_bytes()));
  if (piece.length_bytes != range.length_bytes) co_return ClonePiece{};
  co_return piece;
}

Task<Result<void>> StateCopier::add_variants(const std::vector<StateGroup>& groups, StateChunk& chunk) {
  for (Variant& variant : chunk.variants()) {
    BYRE_CO_CHECK(check_cancelled());
    BYRE_CO_TRY(const bool zero, co_await reads_zero(groups[variant.group], variant.range));
    if (zero) continue;
    Qcow2Disk* const disk = groups[variant.group].disk;
    BYRE_CO_TRY(const ClonePiece clone, co_await clone_of(groups[variant.group], variant.range));
    co_await copy_.add({disk, variant.range, &variant.word, variant.references, false, clone});
  }
  co_return Result<void>{};
}

// Windows that are in flight write into the chunk: they end before it does, whatever fails.
Task<Result<void>> StateCopier::copy_chunk(std::vector<StateGroup>& groups, GuestRange range,
                                           std::vector<std::vector<std::uint64_t>>& tables) {
  StateChunk chunk(groups, range, geometry_.cluster_size_bytes());
  BYRE_CO_CHECK(co_await chunk.load());
  const Result<void> added = co_await add_variants(groups, chunk);
  const Result<void> copied = co_await copy_.finish();
  BYRE_CO_CHECK(added);
  BYRE_CO_CHECK(copied);
  for (std::size_t group = 0; group < groups.size(); ++group) {
    const bool only_active = groups[group].states.size() == 1 && is_active(groups[group].states.front());
    for (std::uint64_t cluster = 0; cluster < chunk.clusters(); ++cluster) {
      const Variant* const variant = chunk.variant(group, cluster);
      const std::uint64_t word = variant ? variant->word : 0;
      const bool owned =
          only_active && word != 0 && variant->references == 1 && (word & format::entry_compressed_flag) == 0;
      tables[group].push_back(owned ? word | format::entry_copied_flag : word);
    }
  }
  co_return Result<void>{};
}

Task<Result<void>> StateCopier::write_tables(const std::vector<StateGroup>& groups, std::uint64_t index,
                                             const std::vector<std::vector<std::uint64_t>>& tables) {
  for (std::size_t group = 0; group < groups.size(); ++group) {
    const std::vector<std::size_t>& states = groups[group].states;
    BYRE_CO_TRY(const HostOffset table, writer_.place_table(tables[group], states.size()));
    if (table.bytes == 0) continue;
    const bool owned = states.size() == 1 && is_active(states.front());
    for (const std::size_t state : states) l1_[state][index] = format::encode_l1_entry({table, owned});
  }
  co_return co_await writer_.write_pending();
}

Task<Result<void>> StateCopier::copy_range(std::uint64_t index) {
  const std::uint64_t begin = geometry_.guest_offset(index, 0).bytes;
  const GuestRange range{begin, std::min(geometry_.guest_bytes_per_l2(), longest_bytes_ - begin)};
  std::vector<StateGroup> groups = group_states(states_, range);
  const bool has_backing = !source_.header().backing_name.empty();
  if (!has_backing) std::erase_if(groups, [](const StateGroup& group) { return group.empty; });
  if (groups.empty()) co_return Result<void>{};
  std::vector<std::vector<std::uint64_t>> tables(groups.size());
  const std::uint64_t step =
      std::max(geometry_.cluster_size_bytes(), source_entries_at_once * source_.cluster_size_bytes());
  for (std::uint64_t at = begin; at < range.end_bytes(); at += step) {
    BYRE_CO_CHECK(co_await copy_chunk(groups, {at, std::min(step, range.end_bytes() - at)}, tables));
    report_progress(at + step);
  }
  co_return co_await write_tables(groups, index, tables);
}

// What its tables can hold; more is a claim.
std::uint64_t StateCopier::vm_state_bytes(std::size_t state) const {
  const format::Geometry source = source_.header().geometry();
  const std::uint64_t disk_entries = source.required_l1_entries(states_[state]->size_bytes());
  const std::uint64_t entries = states_[state]->l1().size();
  if (entries <= disk_entries) return 0;
  return std::min(snapshots_[state].vm_state_bytes, (entries - disk_entries) * source.guest_bytes_per_l2());
}

Task<Result<void>> StateCopier::copy_vm_state(std::size_t state) {
  const std::uint64_t length = vm_state_bytes(state);
  const std::uint64_t step = geometry_.guest_bytes_per_l2();
  for (std::uint64_t at = 0; at < length; at += step) {
    BYRE_CO_CHECK(check_cancelled());
    BYRE_CO_CHECK(co_await copy_vm_range(state, {at, std::min(step, length - at)}));
  }
  co_return Result<void>{};
}

Task<Result<void>> StateCopier::copy_vm_range(std::size_t state, GuestRange range) {
  const format::Geometry source = source_.header().geometry();
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  const std::vector<std::uint64_t>& l1 = states_[state]->l1();
  const std::uint64_t first_index = source.required_l1_entries(states_[state]->size_bytes());
  std::vector<std::uint64_t> words(ceil_div(range.length_bytes, cluster_size));
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::uint64_t at = range.offset_bytes + i * cluster_size;
    const GuestRange cluster{at, std::min(cluster_size, range.end_bytes() - at)};
    const auto begin = l1.begin() + static_cast<std::ptrdiff_t>(first_index + source.l1_index(GuestOffset(at)));
    const std::uint64_t end_index = first_index + ceil_div(cluster.end_bytes(), source.guest_bytes_per_l2());
    const auto end = l1.begin() + static_cast<std::ptrdiff_t>(end_index);
    if (std::all_of(begin, end, [](std::uint64_t entry) { return entry == 0; })) continue;
    co_await copy_.add({states_[state], cluster, &words[i], 1, true});
  }
  BYRE_CO_CHECK(co_await copy_.finish());
  BYRE_CO_TRY(const HostOffset table, writer_.place_table(words, 1));
  l1_[state].push_back(table.bytes == 0 ? 0 : format::encode_l1_entry({table, false}));
  co_return co_await writer_.write_pending();
}

Task<Result<void>> StateCopier::run() {
  BYRE_CO_CHECK(co_await open_states());
  BYRE_CO_CHECK(co_await writer_.begin());
  BYRE_CO_CHECK(co_await find_clones());
  const std::uint64_t ranges = geometry_.required_l1_entries(longest_bytes_);
  for (std::uint64_t index = 0; index < ranges; ++index) {
    BYRE_CO_CHECK(co_await copy_range(index));
  }
  for (std::size_t i = 0; i < snapshots_.size(); ++i) BYRE_CO_CHECK(co_await copy_vm_state(i));
  ImageWriter::Tables tables;
  tables.size_bytes = source_.size_bytes();
  tables.l1 = std::move(l1_.back());
  l1_.pop_back();
  for (std::size_t i = 0; i < snapshots_.size(); ++i) snapshots_[i].disk_size_bytes = states_[i]->size_bytes();
  tables.snapshots = std::move(snapshots_);
  tables.snapshot_l1 = std::move(l1_);
  co_return co_await writer_.finish(std::move(tables));
}

}  // namespace

Task<Result<void>> copy_states(Qcow2Disk& source, Storage& target, format::Header header, CopyOptions options) {
  StateCopier copier(source, target, std::move(header), std::move(options));
  co_return co_await copier.run();
}

}  // namespace byre::ops
