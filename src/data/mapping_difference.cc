// Entries are compared as they are stored, COPIED aside: equal entries are the same cluster, the same payload, the same
// zeros, or the same hole above the same backing file. Different entries may still read the same; that is for the
// caller, who can read.

#include "data/mapping_difference.h"

#include <algorithm>
#include <cstring>

#include "base/endian.h"
#include "base/math.h"
#include "base/probe.h"
#include "data/batch_io.h"
#include "data/table_walk.h"

namespace byre {
namespace {

std::uint64_t entry_or_none(const std::vector<std::uint64_t>& l1, std::uint64_t index) {
  return index < l1.size() ? l1[index] & ~format::entry_copied_flag : 0;
}

void add_range(std::vector<GuestRange>& ranges, std::uint64_t begin, std::uint64_t end) {
  if (!ranges.empty() && ranges.back().end_bytes() == begin) {
    ranges.back().length_bytes += end - begin;
  } else {
    ranges.push_back({begin, end - begin});
  }
}

}  // namespace

MappingDifference::MappingDifference(Storage& storage, const format::Geometry& geometry,
                                     const std::vector<std::uint64_t>& first, const std::vector<std::uint64_t>& second,
                                     std::uint64_t end_bytes)
    : storage_(storage),
      geometry_(geometry),
      first_(first),
      second_(second),
      end_bytes_(end_bytes),
      l1_entries_(geometry.required_l1_entries(end_bytes)) {}

Result<void> MappingDifference::choose_pairs() {
  const std::uint64_t most = std::max<std::uint64_t>(1, table_batch_bytes / 2 >> geometry_.cluster_bits);
  const std::uint64_t file_end = round_up(storage_.size_bytes(), geometry_.cluster_size_bytes());
  pairs_.clear();
  for (; next_index_ < l1_entries_ && pairs_.size() < most; ++next_index_) {
    const std::uint64_t first = entry_or_none(first_, next_index_);
    const std::uint64_t second = entry_or_none(second_, next_index_);
    if (first == second) continue;
    BYRE_TRY(const HostOffset first_at, find_l2_table(geometry_, first, next_index_, file_end));
    BYRE_TRY(const HostOffset second_at, find_l2_table(geometry_, second, next_index_, file_end));
    pairs_.push_back({next_index_, first_at, second_at});
  }
  return {};
}

// Both tables of a pair lie side by side in the buffer. No table is one of empty entries.
Task<Result<void>> MappingDifference::load() {
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  if (buffer_.size() < pairs_.size() * 2 * cluster_size) buffer_ = Buffer(pairs_.size() * 2 * cluster_size);
  std::vector<BatchPart> parts;
  for (std::size_t i = 0; i < pairs_.size(); ++i) {
    const HostOffset places[] = {pairs_[i].first, pairs_[i].second};
    for (std::size_t side = 0; side < 2; ++side) {
      const Bytes table = buffer_.bytes().subspan((i * 2 + side) * cluster_size, cluster_size);
      if (places[side].bytes != 0) {
        parts.push_back({places[side].bytes, table});
      } else {
        std::ranges::fill(table, std::byte{0});
      }
    }
  }
  co_return co_await read_batch(storage_, std::move(parts));
}

void MappingDifference::compare(const Pair& pair, const std::byte* first, const std::byte* second,
                                std::vector<GuestRange>& ranges) const {
  const std::uint64_t entry_bytes = geometry_.l2_entry_bytes();
  for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
    const std::byte* a = first + i * entry_bytes;
    const std::byte* b = second + i * entry_bytes;
    const bool same_place = ((load_be64(a) ^ load_be64(b)) & ~format::entry_copied_flag) == 0;
    if (same_place && std::memcmp(a + 8, b + 8, entry_bytes - 8) == 0) continue;
    const std::uint64_t begin = geometry_.guest_offset(pair.l1_index, i).bytes;
    if (begin >= end_bytes_) return;
    add_range(ranges, begin, std::min(end_bytes_, begin + geometry_.cluster_size_bytes()));
  }
}

Task<Result<std::vector<GuestRange>>> MappingDifference::next() {
  BYRE_CO_CHECK(choose_pairs());
  BYRE_CO_CHECK(co_await load());
  std::vector<GuestRange> ranges;
  for (std::size_t i = 0; i < pairs_.size(); ++i) {
    const std::byte* first = buffer_.data() + (i * 2 << geometry_.cluster_bits);
    compare(pairs_[i], first, first + geometry_.cluster_size_bytes(), ranges);
  }
  co_return ranges;
}

}  // namespace byre
