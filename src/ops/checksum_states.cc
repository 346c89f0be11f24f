// States are cut into ranges by what they share: for the range of some L2 tables, states with the same entries in L1
// are one group; where there are several groups, their L2 entries say block by block which of them have the same. Each
// difference is read and hashed once, and its digests go to all states that have it.
//
// Left out: sharing between different guest offsets, and with other images; VM states, which are no part of a disk.
#include <algorithm>

#include "base/math.h"
#include "base/text.h"
#include "byre/ops/checksum.h"
#include "data/qcow2_disk.h"
#include "ops/block_hashing.h"
#include "ops/image_states.h"
#include "ops/snapshot_info.h"
#include "ops/state_tables.h"

namespace byre {

namespace {

using ops::BlockHashing;
using ops::BlockRange;
using ops::DigestScheme;
using ops::ImageStates;
using ops::StateChunk;
using ops::StateGroup;

constexpr std::uint64_t block_bytes = DigestScheme::block_bytes;
constexpr std::uint64_t longest_cluster_bytes = 2 << 20;
constexpr std::uint64_t entries_at_once = 8192;

BlockRange blocks_of(GuestRange range) {
  return {range.offset_bytes / block_bytes, ceil_div(range.end_bytes(), block_bytes)};
}

// Hands what the states of an image have, each part once, to the hashing.
class StateWalk {
 public:
  StateWalk(BlockHashing& hashing, const std::vector<Qcow2Disk*>& states)
      : hashing_(hashing),
        states_(states),
        geometry_(states.back()->header().geometry()),
        has_backing_(!states.back()->header().backing_name.empty()),
        unit_bytes_(std::max(block_bytes, geometry_.cluster_size_bytes())) {}

  Task<Result<void>> run();

 private:
  Task<Result<void>> add_range(GuestRange range);
  Task<Result<void>> add_chunk(std::vector<StateGroup>& groups, GuestRange range);
  Task<Result<void>> add_shared(const std::vector<StateGroup>& groups, const std::vector<std::size_t>& leaders,
                                GuestRange range);

  BlockHashing& hashing_;
  const std::vector<Qcow2Disk*>& states_;
  const format::Geometry geometry_;
  const bool has_backing_;
  const std::uint64_t unit_bytes_;
};

constexpr std::size_t no_leader = ~std::size_t{0};

// By group: the first one that has the same in this unit.
std::vector<std::size_t> leaders_at(const StateChunk& chunk, std::size_t groups, std::uint64_t unit) {
  std::vector<std::size_t> leaders(groups, no_leader);
  for (std::size_t group = 0; group < groups; ++group) {
    const ops::Variant* const variant = chunk.variant(group, unit);
    if (variant) leaders[group] = variant->group;
  }
  return leaders;
}

Task<Result<void>> StateWalk::add_shared(const std::vector<StateGroup>& groups, const std::vector<std::size_t>& leaders,
                                         GuestRange range) {
  for (std::size_t leader = 0; leader < groups.size(); ++leader) {
    if (leaders[leader] != leader) continue;
    std::vector<std::size_t> receivers;
    for (std::size_t group = leader; group < groups.size(); ++group) {
      if (leaders[group] != leader) continue;
      receivers.insert(receivers.end(), groups[group].states.begin(), groups[group].states.end());
    }
    const BlockRange blocks = blocks_of(range);  // zeros, where it goes beyond the end of the disk
    BYRE_CO_CHECK(co_await hashing_.add(groups[leader].states.front(), blocks, std::move(receivers)));
  }
  co_return Result<void>{};
}

Task<Result<void>> StateWalk::add_chunk(std::vector<StateGroup>& groups, GuestRange range) {
  StateChunk chunk(groups, range, unit_bytes_);
  BYRE_CO_CHECK(co_await chunk.load());
  for (std::uint64_t unit = 0; unit < chunk.clusters();) {
    const std::vector<std::size_t> leaders = leaders_at(chunk, groups.size(), unit);
    const std::uint64_t begin = range.offset_bytes + unit * unit_bytes_;
    for (++unit; unit < chunk.clusters() && leaders_at(chunk, groups.size(), unit) == leaders;) ++unit;
    const std::uint64_t end = std::min(range.offset_bytes + unit * unit_bytes_, range.end_bytes());
    const GuestRange shared{begin, end - begin};
    BYRE_CO_CHECK(co_await add_shared(groups, leaders, shared));
  }
  co_return Result<void>{};
}

Task<Result<void>> StateWalk::add_range(GuestRange range) {
  BYRE_CO_CHECK(hashing_.check_cancelled());
  std::vector<StateGroup> groups = ops::group_states(states_, range);
  if (!has_backing_) std::erase_if(groups, [](const StateGroup& group) { return group.empty; });
  if (groups.size() == 1) {
    const std::vector<std::size_t> itself = {0};
    co_return co_await add_shared(groups, itself, range);
  }
  const std::uint64_t step = std::max(longest_cluster_bytes, entries_at_once * geometry_.cluster_size_bytes());
  for (std::uint64_t at = range.offset_bytes; at < range.end_bytes() && !groups.empty(); at += step) {
    const GuestRange part{at, std::min(step, range.end_bytes() - at)};
    BYRE_CO_CHECK(co_await add_chunk(groups, part));
  }
  co_return Result<void>{};
}

Task<Result<void>> StateWalk::run() {
  const std::uint64_t step = std::max(longest_cluster_bytes, geometry_.guest_bytes_per_l2());
  const std::uint64_t longest = hashing_.longest_bytes();
  for (std::uint64_t at = 0; at < longest; at += step) {
    const GuestRange range{at, std::min(step, longest - at)};
    BYRE_CO_CHECK(co_await add_range(range));
  }
  co_return Result<void>{};
}

Task<Result<std::vector<Checksum>>> hash_states(const ImageStates& states, const ChecksumOptions& options) {
  BYRE_CO_TRY(const DigestScheme scheme, DigestScheme::make(options.algorithm));
  const std::vector<Disk*> disks(states.disks.begin(), states.disks.end());
  BlockHashing hashing(scheme, disks, options);
  StateWalk walk(hashing, states.disks);
  const Result<void> walked = co_await walk.run();
  Result<std::vector<Checksum>> checksums = co_await hashing.finish();
  BYRE_CO_CHECK(walked);
  co_return checksums;
}

Task<Result<std::vector<StateChecksum>>> hash_image(Qcow2Disk& image, const ChecksumOptions& options) {
  BYRE_CO_TRY(const ImageStates states, co_await ops::open_states(image));
  BYRE_CO_TRY(std::vector<Checksum> checksums, co_await hash_states(states, options));
  std::vector<SnapshotInfo> snapshots = ops::describe_snapshots(states.snapshots);
  std::vector<StateChecksum> result;
  for (std::size_t i = 0; i < checksums.size(); ++i) {
    StateChecksum state;
    if (i < snapshots.size()) state.snapshot = std::move(snapshots[i]);
    state.size_bytes = states.disks[i]->size_bytes();
    state.checksum = std::move(checksums[i]);
    result.push_back(std::move(state));
  }
  co_return result;
}

}  // namespace

Task<Result<std::vector<StateChecksum>>> checksum_states(Disk& disk, ChecksumOptions options) {
  const std::string name = escape_untrusted(disk.storage().name());
  if (disk.writable()) {
    co_return fail(ErrorCode::invalid_argument, "{}: a disk that is open read-only is expected", name);
  }
  if (auto* const image = dynamic_cast<Qcow2Disk*>(&disk)) {
    auto result = co_await hash_image(*image, options);
    if (!result) co_return std::unexpected(std::move(result).error().with_context(name));
    co_return result;
  }
  BYRE_CO_TRY(Checksum checksum, co_await checksum_disk(disk, std::move(options)));
  std::vector<StateChecksum> result(1);
  result.front().size_bytes = disk.size_bytes();
  result.front().checksum = std::move(checksum);
  co_return result;
}

}  // namespace byre
