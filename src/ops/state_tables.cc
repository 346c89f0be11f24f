// Equal entries are the same cluster, the same payload, the same zeros, or the same hole above the same backing file:
// only equality counts here, nothing in an entry is followed but the place of its table.

#include "ops/state_tables.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "base/endian.h"
#include "base/math.h"
#include "data/batch_io.h"
#include "data/table_walk.h"

namespace byre::ops {
namespace {

constexpr std::size_t no_variant = ~std::size_t{0};

// The L1 entries of a range, and where the disk ends in it: what makes two states the same there.
std::vector<std::uint64_t> signature(const Qcow2Disk& state, GuestRange range) {
  const format::Geometry geometry = state.header().geometry();
  const std::uint64_t end = std::min(state.size_bytes(), range.end_bytes());
  std::vector<std::uint64_t> words = {end};
  const std::uint64_t l1_end = ceil_div(end, geometry.guest_bytes_per_l2());
  for (std::uint64_t i = geometry.l1_index(GuestOffset(range.offset_bytes)); i < l1_end; ++i) {
    words.push_back(i < state.l1().size() ? state.l1()[i] & ~format::entry_copied_flag : 0);
  }
  return words;
}

}  // namespace

std::vector<StateGroup> group_states(const std::vector<Qcow2Disk*>& states, GuestRange range) {
  std::vector<StateGroup> groups;
  std::map<std::vector<std::uint64_t>, std::size_t> known;
  for (std::size_t state = 0; state < states.size(); ++state) {
    if (states[state]->size_bytes() <= range.offset_bytes) continue;
    std::vector<std::uint64_t> words = signature(*states[state], range);
    const std::uint64_t end = words.front();
    const bool empty = std::all_of(words.begin() + 1, words.end(), [](std::uint64_t word) { return word == 0; });
    const auto [found, is_new] = known.emplace(std::move(words), groups.size());
    if (is_new) groups.push_back({{}, states[state], end, empty, {}});
    groups[found->second].states.push_back(state);
  }
  return groups;
}

StateChunk::StateChunk(std::vector<StateGroup>& groups, GuestRange range, std::uint64_t cluster_bytes)
    : groups_(groups),
      range_(range),
      cluster_bytes_(cluster_bytes),
      clusters_(ceil_div(range.length_bytes, cluster_bytes)) {}

Task<Result<void>> StateChunk::load() {
  const Qcow2Disk& image = *groups_.front().disk;
  Storage& storage = groups_.front().disk->storage();
  const format::Geometry geometry = image.header().geometry();
  const std::uint64_t file_end = round_up(storage.size_bytes(), geometry.cluster_size_bytes());
  const std::uint64_t first = range_.offset_bytes >> geometry.cluster_bits;
  const std::uint64_t end = geometry.clusters_for(range_.end_bytes());
  std::vector<BatchPart> parts;
  for (StateGroup& group : groups_) {
    group.entries.assign((end - first) << geometry.l2_entry_bits(), std::byte{0});
    const std::vector<std::uint64_t>& l1 = group.disk->l1();
    for (std::uint64_t at = first, next = 0; at < end; at = next) {
      const std::uint64_t index = at >> geometry.l2_bits();
      next = std::min(end, (index + 1) << geometry.l2_bits());
      if (index >= l1.size()) continue;
      BYRE_CO_TRY(const HostOffset table, find_l2_table(geometry, l1[index], index, file_end));
      if (table.bytes == 0) continue;
      const std::uint64_t in_table = (at & (geometry.l2_entries() - 1)) << geometry.l2_entry_bits();
      const Bytes target =
          Bytes(group.entries)
              .subspan((at - first) << geometry.l2_entry_bits(), (next - at) << geometry.l2_entry_bits());
      parts.push_back({table.bytes + in_table, target});
    }
  }
  BYRE_CO_CHECK(co_await read_batch(storage, std::move(parts)));
  for (StateGroup& group : groups_) {
    for (std::size_t at = 0; at < group.entries.size(); at += geometry.l2_entry_bytes()) {
      group.entries[at] &= ~std::byte{0x80};  // COPIED
    }
  }
  find_variants();
  co_return Result<void>{};
}

void StateChunk::find_variants() {
  numbers_.assign(groups_.size(), std::vector<std::size_t>(clusters_, no_variant));
  for (std::uint64_t cluster = 0; cluster < clusters_; ++cluster) {
    const std::size_t first_here = variants_.size();
    const std::uint64_t begin = range_.offset_bytes + cluster * cluster_bytes_;
    for (std::size_t group = 0; group < groups_.size(); ++group) {
      if (groups_[group].end_bytes <= begin) continue;
      const GuestRange range{begin, std::min(groups_[group].end_bytes - begin, cluster_bytes_)};
      const std::size_t number = variant_at(group, range, first_here);
      variants_[number].references += groups_[group].states.size();
      numbers_[group][cluster] = number;
    }
  }
}

std::size_t StateChunk::variant_at(std::size_t group, GuestRange range, std::size_t first_here) {
  for (std::size_t number = first_here; number < variants_.size(); ++number) {
    if (variants_[number].range == range && same(groups_[variants_[number].group], groups_[group], range)) {
      return number;
    }
  }
  variants_.push_back({group, range, 0, 0});
  return variants_.size() - 1;
}

bool StateChunk::same(const StateGroup& first, const StateGroup& second, GuestRange range) const {
  const format::Geometry geometry = first.disk->header().geometry();
  const std::uint64_t start = range_.offset_bytes >> geometry.cluster_bits;
  const std::uint64_t begin = (range.offset_bytes >> geometry.cluster_bits) - start;
  const std::uint64_t count = geometry.clusters_for(range.end_bytes()) - start - begin;
  const std::size_t at = begin << geometry.l2_entry_bits();
  return std::memcmp(first.entries.data() + at, second.entries.data() + at, count << geometry.l2_entry_bits()) == 0;
}

const Variant* StateChunk::variant(std::size_t group, std::uint64_t cluster) const {
  const std::size_t number = numbers_[group][cluster];
  return number == no_variant ? nullptr : &variants_[number];
}

}  // namespace byre::ops
