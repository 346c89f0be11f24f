// A search for free clusters begins where the last one for as many has ended, until something before that is freed.

#include "data/host_map.h"

#include <algorithm>

#include "base/text.h"
#include "data/batch_io.h"
#include "format/entry.h"
#include "format/refcount.h"

namespace byre {

Task<Result<void>> HostMap::load(Storage& storage, const format::Geometry& geometry,
                                 const std::vector<std::uint64_t>& refcount_table) {
  const std::uint64_t most = std::max<std::uint64_t>(1, table_batch_bytes >> geometry.cluster_bits);
  Buffer buffer(std::min<std::uint64_t>(most, refcount_table.size()) << geometry.cluster_bits);
  for (std::uint64_t next = 0; next < refcount_table.size();) {
    std::vector<std::uint64_t> indexes;
    std::vector<BatchPart> parts;
    for (; next < refcount_table.size() && indexes.size() < most; ++next) {
      const auto block = format::decode_refcount_table_entry(geometry, refcount_table[next]);
      if (!block) {
        co_return fail(ErrorCode::corrupt, "refcount table entry {}: {}", next, format::describe(block.error()));
      }
      if (block->bytes == 0) continue;
      const std::uint64_t slot = indexes.size() << geometry.cluster_bits;
      parts.push_back({block->bytes, buffer.bytes().subspan(slot, geometry.cluster_size_bytes())});
      indexes.push_back(next);
    }
    BYRE_CO_CHECK(co_await read_batch(storage, parts));
    for (std::size_t i = 0; i < indexes.size(); ++i) add_block(geometry, indexes[i], parts[i].bytes);
  }
  co_return Result<void>{};
}

void HostMap::add_block(const format::Geometry& geometry, std::uint64_t index, ConstBytes block) {
  const std::uint64_t first = index * geometry.refcounts_per_block();
  const std::uint64_t end = first + geometry.refcounts_per_block();
  used_.resize(end, false);
  free_.resize(end, false);
  for (std::uint64_t cluster = first; cluster < end; ++cluster) {
    used_[cluster] = format::load_refcount(block.data(), geometry.refcount_order, cluster - first) != 0;
    free_[cluster] = !used_[cluster];
    if (used_[cluster]) end_ = cluster + 1;
  }
}

void HostMap::mark(std::uint64_t first, std::uint64_t count, bool used) {
  for (std::uint64_t cluster = first; cluster < first + count; ++cluster) {
    used_[cluster] = used;
    free_[cluster] = !used;
  }
  if (used) end_ = std::max(end_, first + count);
  while (end_ > 0 && !used_[end_ - 1]) --end_;
}

std::optional<std::uint64_t> HostMap::take(std::uint64_t count, std::uint64_t below) {
  const std::uint64_t hinted = std::min<std::uint64_t>(count, no_run_before_.size() - 1);
  const std::uint64_t limit = std::min<std::uint64_t>(below, free_.size());
  std::uint64_t found = 0;
  std::uint64_t at = no_run_before_[hinted];
  while (at < limit && found < count) {
    found = is_free(at) ? found + 1 : 0;
    ++at;
  }
  if (count == hinted) no_run_before_[hinted] = std::max(no_run_before_[hinted], at - found);
  if (found < count) return std::nullopt;
  mark(at - count, count, true);
  return at - count;
}

bool HostMap::take_at(std::uint64_t first, std::uint64_t count, std::uint64_t below) {
  if (first + count > std::min<std::uint64_t>(below, free_.size())) return false;
  for (std::uint64_t cluster = first; cluster < first + count; ++cluster) {
    if (!is_free(cluster)) return false;
  }
  mark(first, count, true);
  return true;
}

void HostMap::free(std::uint64_t first, std::uint64_t count) {
  mark(first, count, false);
  for (std::size_t run = 1; run < no_run_before_.size(); ++run) {
    const std::uint64_t earliest = first < run ? 0 : first + 1 - run;  // it may begin before what has become free
    no_run_before_[run] = std::min(no_run_before_[run], earliest);
  }
}

std::uint64_t HostMap::balance(std::uint64_t most) const {
  std::uint64_t used = static_cast<std::uint64_t>(std::count(used_.begin(), used_.end(), true));
  std::uint64_t holes = 0;
  std::uint64_t cluster = 0;
  for (; cluster < end_ && (used > holes || used > most); ++cluster) {
    if (used_[cluster]) --used;
    if (free_[cluster]) ++holes;
  }
  return cluster;
}

std::optional<std::uint64_t> HostMap::sparsest(std::uint64_t count, std::uint64_t below,
                                               const std::vector<ClusterRun>& pinned) const {
  std::optional<std::uint64_t> best;
  std::uint64_t fewest = ~std::uint64_t{0};
  std::uint64_t used = 0;
  std::uint64_t begin = 0;
  auto pin = pinned.begin();
  for (std::uint64_t cluster = 0; cluster < std::min<std::uint64_t>(below, used_.size()); ++cluster) {
    while (pin != pinned.end() && pin->end() <= cluster) ++pin;
    const bool movable = used_[cluster] || free_[cluster];
    if (!movable || (pin != pinned.end() && pin->first <= cluster)) {
      begin = cluster + 1;
      used = 0;
      continue;
    }
    if (used_[cluster]) ++used;
    if (cluster + 1 - begin > count) {
      if (used_[begin]) --used;
      ++begin;
    }
    if (cluster + 1 - begin == count && used < fewest) {
      best = begin;
      fewest = used;
    }
  }
  return best;
}

std::vector<ClusterRun> HostMap::holes() const {
  ClusterRuns runs;
  for (std::uint64_t cluster = 0; cluster < end_; ++cluster) {
    if (free_[cluster]) runs.add(cluster, 1);
  }
  return runs.take_sorted();
}

}  // namespace byre
