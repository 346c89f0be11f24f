// A round looks at the end of the file: as much as there are free clusters before it, and no more than fits into
// memory. It finds every pointer there, and moves what they lead to in the order in which things hang together: data
// and payloads, L2 tables, L1 tables, refcount blocks, and what the header names. Rounds go on until one moves nothing.
//
// Leaves out: order. What was moved lies where there was room, not where the guest would look for it.

#include "data/compaction.h"

#include <algorithm>
#include <span>
#include <utility>

#include "base/math.h"
#include "base/probe.h"
#include "base/text.h"
#include "data/batch_io.h"
#include "data/load.h"
#include "data/payload_packer.h"
#include "format/refcount.h"

namespace byre {
namespace {

constexpr std::uint64_t round_clusters = 1 << 20;
constexpr std::uint64_t anywhere = ~std::uint64_t{0};

// Pointers to the same thing lie one behind the other; the last ones lead to the end of the file.
template <class Key>
std::vector<std::span<const Pointer>> groups_of(std::vector<Pointer>& pointers, Key key) {
  std::ranges::sort(pointers, {}, key);
  std::vector<std::span<const Pointer>> groups;
  for (std::size_t begin = 0; begin < pointers.size();) {
    std::size_t end = begin;
    while (end < pointers.size() && key(pointers[end]) == key(pointers[begin])) ++end;
    groups.emplace_back(pointers.data() + begin, end - begin);
    begin = end;
  }
  return groups;
}

std::uint64_t owners_of(std::span<const Pointer> pointers) {
  std::uint64_t owners = 0;
  for (const Pointer& pointer : pointers) owners += pointer.owners;
  return owners;
}

}  // namespace

struct Compaction::Found {
  std::vector<Pointer> data, payloads, tables, blocks;
};

// Clusters that move, each with what leads to it, and their new places.
struct Compaction::Moves {
  explicit Moves(std::vector<Pointer> all)
      : pointers(std::move(all)), groups(groups_of(pointers, [](const Pointer& at) { return at.target_bytes(); })) {}

  std::vector<Pointer> pointers;
  std::vector<std::span<const Pointer>> groups;
  std::vector<std::uint64_t> places;
};

Compaction::Compaction(Storage& storage, const format::Header& header, std::vector<std::uint64_t> refcount_table,
                       CompactionOptions options)
    : storage_(storage),
      geometry_(header.geometry()),
      refcount_table_(std::move(refcount_table)),
      table_at_(header.refcount_table),
      options_(std::move(options)),
      mover_(storage, geometry_, refcount_table_, options_.punch) {}

Task<Result<void>> Compaction::run() {
  BYRE_CO_CHECK(co_await map_.load(storage_, geometry_, refcount_table_));
  auto done = co_await work();
  if (!mover_.exact()) co_return done;
  give_back_freed();
  auto shorter = co_await cut();
  co_return done ? shorter : done;
}

Task<Result<void>> Compaction::work() {
  total_bytes_ = 2 * (map_.used() << geometry_.cluster_bits);  // at most all of it is read and then moved
  BYRE_CO_CHECK(co_await thin());
  give_back_freed();
  const std::uint64_t moving = map_.end() - map_.balance(anywhere);
  total_bytes_ = read_bytes_ + counts_.dropped_bytes + (moving << geometry_.cluster_bits);
  for (bool more = true; more;) {
    auto moved = co_await move_down();
    if (!moved) BYRE_CO_CHECK(co_await prepare_smaller_parts(moved.error()));
    if (!moved || *moved) continue;
    BYRE_CO_TRY(more, co_await drop_blocks());
  }
  co_return Result<void>{};
}

// Free clusters of the file need not have space where it is stored. A round that finds none is tried again in smaller
// parts, each of which gives back what it takes.
Task<Result<void>> Compaction::prepare_smaller_parts(Error error) {
  if (error.code() != ErrorCode::no_space || !mover_.exact() || batch_clusters() == 1) {
    co_return std::unexpected(std::move(error));
  }
  BYRE_PROBE("data: moves that found no space are tried in smaller parts");
  batch_bytes_ /= 4;
  room_.clear();
  freed_.clear();
  map_ = HostMap();
  co_return co_await map_.load(storage_, geometry_, refcount_table_);
}

void Compaction::show_progress() const {
  const std::uint64_t done = read_bytes_ + counts_.moved_bytes + counts_.dropped_bytes;
  if (options_.progress) options_.progress(std::min(done, total_bytes_), std::max(done, total_bytes_));
}

std::uint64_t Compaction::batch_clusters() const {
  return std::max<std::uint64_t>(1, batch_bytes_ >> geometry_.cluster_bits);
}

Result<void> Compaction::check_cancelled() const {
  if (options_.cancel && options_.cancel->load()) return fail(ErrorCode::cancelled, "interrupted");
  return {};
}

Task<Result<CompactRoots>> Compaction::roots() {
  BYRE_CO_TRY(const format::Header header, co_await read_header(storage_, format::HeaderUse::write));
  table_at_ = header.refcount_table;
  co_return co_await read_compact_roots(storage_, header);
}

Task<Result<void>> Compaction::perform(MoveBatch batch, std::function<void()> relinked) {
  BYRE_CO_CHECK(check_cancelled());
  const std::uint64_t bytes = batch.bytes();
  BYRE_CO_TRY(const std::vector<ClusterRun> freed, co_await mover_.run(std::move(batch), std::move(relinked)));
  freed_.insert(freed_.end(), freed.begin(), freed.end());
  counts_.moved_bytes += bytes;
  show_progress();
  co_return Result<void>{};
}

// False: nothing could be moved.
Task<Result<bool>> Compaction::move_down() {
  const Range range{map_.balance(round_clusters), map_.end()};
  if (range.first >= range.end) co_return false;
  const std::uint64_t before = counts_.moved_bytes;
  BYRE_CO_CHECK(co_await make_room(range));
  BYRE_CO_CHECK(co_await move_range(range, range.first));
  give_back_freed();
  for (const auto& [from, to] : std::exchange(room_, {})) map_.free(to.first, to.count);
  co_return counts_.moved_bytes > before;
}

Task<Result<Compaction::Found>> Compaction::find(const CompactRoots& roots, Range range) {
  Found found;
  TableWalk walk(storage_, geometry_, roots.l1);
  for (;;) {
    BYRE_CO_CHECK(co_await walk.next());
    if (walk.tables().empty()) break;
    for (const TableWalk::Table& table : walk.tables()) {
      const std::uint64_t owners = roots.owners[table.l1_index];
      for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
        BYRE_CO_TRY(const TableWalk::Reference reference, walk.reference(table, i));
        const ClusterRun& clusters = reference.clusters;
        if (clusters.count == 0 || (!range.has(clusters.first) && !range.has(clusters.end() - 1))) continue;
        const std::uint64_t place = table.at.bytes + i * geometry_.l2_entry_bytes();
        (reference.own ? found.data : found.payloads).push_back({place, load_be64(walk.raw(table, i)), owners});
      }
    }
  }
  for (const Pointer& pointer : roots.tables) {
    if (range.has(pointer.target_bytes() >> geometry_.cluster_bits)) found.tables.push_back(pointer);
  }
  for (std::size_t i = 0; i < refcount_table_.size(); ++i) {
    if (!range.has(refcount_table_[i] >> geometry_.cluster_bits)) continue;
    found.blocks.push_back({table_at_.bytes + i * 8, refcount_table_[i], 1});
  }
  co_return found;
}

// Everything that lies in the range and can be moved goes before `below`, or stays where there is no room. Places for
// tables are taken first: they are few, and nothing is won while one of them stays at the end.
Task<Result<void>> Compaction::move_range(Range range, std::uint64_t below) {
  BYRE_CO_TRY(const CompactRoots all, co_await roots());
  BYRE_CO_TRY(Found found, co_await find(all, range));
  Moves tables(std::move(found.tables));
  Moves blocks(std::move(found.blocks));
  Moves data(std::move(found.data));
  for (Moves* moves : {&tables, &blocks, &data}) take_places(*moves, below);
  BYRE_CO_CHECK(co_await move_clusters(data));
  BYRE_CO_CHECK(co_await move_payloads(std::move(found.payloads), below));
  BYRE_CO_CHECK(co_await move_clusters(tables));
  BYRE_CO_CHECK(co_await move_regions(all.l1_tables));
  BYRE_CO_CHECK(co_await move_blocks(blocks));
  co_return co_await move_regions(all.others);
}

void Compaction::take_places(Moves& moves, std::uint64_t below) {
  while (moves.places.size() < moves.groups.size()) {
    const auto place = map_.take(1, below);
    if (!place) break;
    moves.places.push_back(*place);
  }
  // The last ones go, and their order stays.
  moves.groups.erase(moves.groups.begin(), moves.groups.end() - static_cast<std::ptrdiff_t>(moves.places.size()));
}

void Compaction::add_move(MoveBatch& batch, const Moves& moves, std::size_t index) const {
  const std::span<const Pointer> group = moves.groups[index];
  const std::uint64_t to = moves.places[index] << geometry_.cluster_bits;
  batch.move(group.front().target_bytes(), to, geometry_.cluster_size_bytes(), owners_of(group));
  for (const Pointer& pointer : group) {
    batch.point(pointer.place_bytes, (pointer.word & ~format::entry_offset_mask) | to);
  }
}

Task<Result<void>> Compaction::move_clusters(const Moves& moves) {
  for (std::size_t next = 0; next < moves.places.size();) {
    const std::size_t end = std::min<std::size_t>(moves.places.size(), next + batch_clusters());
    MoveBatch batch(geometry_);
    for (std::size_t i = next; i < end; ++i) add_move(batch, moves, i);
    next = end;
    BYRE_CO_CHECK(co_await perform(std::move(batch)));
  }
  co_return Result<void>{};
}

// All at once: what a batch counts may lie in any of them.
Task<Result<void>> Compaction::move_blocks(const Moves& moves) {
  if (moves.places.empty()) co_return Result<void>{};
  BYRE_PROBE("data: refcount blocks are moved");
  MoveBatch batch(geometry_);
  for (std::size_t i = 0; i < moves.places.size(); ++i) add_move(batch, moves, i);
  co_return co_await perform(std::move(batch), [this, &moves] {
    for (std::size_t i = 0; i < moves.places.size(); ++i) {
      const std::uint64_t index = (moves.groups[i].front().place_bytes - table_at_.bytes) / 8;
      refcount_table_[index] = moves.places[i] << geometry_.cluster_bits;
    }
  });
}

Task<Result<void>> Compaction::move_payloads(std::vector<Pointer> pointers, std::uint64_t below) {
  const auto groups = groups_of(pointers, [&](const Pointer& pointer) {
    return std::pair(decoded_payload(geometry_, pointer.word).offset.bytes, pointer.word);
  });
  PayloadPacker packer(geometry_, map_, below);
  for (std::size_t end = groups.size(); end > 0;) {
    std::size_t begin = end;
    for (std::uint64_t bytes = 0; begin > 0 && bytes < batch_bytes_; --begin) {
      bytes += decoded_payload(geometry_, groups[begin - 1].front().word).length_bytes;
    }
    MoveBatch batch(geometry_);
    for (std::size_t i = begin; i < end; ++i) {
      const format::CompressedExtent payload = decoded_payload(geometry_, groups[i].front().word);
      const std::uint64_t owners = owners_of(groups[i]);
      const auto to = packer.place(payload, owners);
      if (!to) continue;
      batch.move(payload.offset.bytes, to->bytes, payload.length_bytes, owners);
      const std::uint64_t word = encoded_payload(geometry_, {*to, payload.length_bytes});
      for (const Pointer& pointer : groups[i]) batch.point(pointer.place_bytes, word);
    }
    if (batch.empty()) co_return Result<void>{};
    BYRE_PROBE("data: payloads are moved");
    end = begin;
    BYRE_CO_CHECK(co_await perform(std::move(batch)));
  }
  co_return Result<void>{};
}

Task<Result<void>> Compaction::move_regions(const std::vector<Region>& regions) {
  for (const Region& region : regions) {
    const auto room = room_.find(region.first);
    if (room == room_.end()) continue;
    MoveBatch batch(geometry_);
    const std::uint64_t to = room->second.first << geometry_.cluster_bits;
    batch.move(region.first << geometry_.cluster_bits, to, region.clusters << geometry_.cluster_bits, 1);
    batch.point(region.place_bytes, to);
    room_.erase(room);
    BYRE_CO_CHECK(co_await perform(std::move(batch)));
  }
  co_return Result<void>{};
}

// Takes places before the range for the tables there that lie in one piece: each needs as many free clusters in a row.
Task<Result<void>> Compaction::make_room(Range range) {
  BYRE_CO_TRY(const CompactRoots all, co_await roots());
  std::vector<Region> regions = all.l1_tables;
  regions.insert(regions.end(), all.others.begin(), all.others.end());
  for (const Region& region : regions) {
    if (region.first + region.clusters <= range.first) continue;
    auto place = map_.take(region.clusters, range.first);
    if (!place && region.clusters > 1) {
      BYRE_CO_TRY(const bool emptied, co_await evacuate(regions, region.clusters, range.first));
      if (emptied) place = map_.take(region.clusters, range.first);
    }
    if (place) room_[region.first] = {*place, region.clusters};
  }
  co_return Result<void>{};
}

void Compaction::give_back_freed() {
  for (const ClusterRun& run : std::exchange(freed_, {})) map_.free(run.first, run.count);
}

// Moves out of the way what lies where most is free already. False: something there cannot be moved.
Task<Result<bool>> Compaction::evacuate(const std::vector<Region>& regions, std::uint64_t count, std::uint64_t below) {
  ClusterRuns fixed;
  fixed.add(0, 1);
  for (const Region& region : regions) fixed.add(region.first, region.clusters);
  for (const auto& [from, to] : room_) fixed.add(to.first, to.count);
  const auto first = map_.sparsest(count, below, fixed.take_sorted());
  if (!first) co_return false;
  BYRE_PROBE("data: room is made for a table");
  for (std::uint64_t cluster = *first; cluster < *first + count; ++cluster) {
    if (map_.take_at(cluster, 1, below)) freed_.push_back({cluster, 1});
  }
  auto room = std::exchange(room_, {});  // the tables themselves wait
  BYRE_CO_CHECK(co_await move_range({*first, *first + count}, anywhere));
  room_ = std::move(room);
  give_back_freed();
  bool used = false;
  for (std::uint64_t cluster = *first; cluster < *first + count; ++cluster) used |= map_.is_used(cluster);
  co_return !used;
}

// Those behind the last cluster that is used count nothing.
Task<Result<bool>> Compaction::drop_blocks() {
  BYRE_CO_TRY([[maybe_unused]] const CompactRoots now, co_await roots());  // the table may have moved
  MoveBatch batch(geometry_);
  const std::uint64_t needed = map_.end() == 0 ? 0 : geometry_.refcount_table_index(map_.end() - 1) + 1;
  std::vector<std::uint64_t> dropped;
  for (std::uint64_t i = needed; i < refcount_table_.size(); ++i) {
    if (refcount_table_[i] == 0) continue;
    batch.drop(refcount_table_[i], geometry_.cluster_size_bytes(), 1);
    batch.point(table_at_.bytes + i * 8, 0);
    dropped.push_back(i);
  }
  if (dropped.empty()) co_return false;
  BYRE_PROBE("data: refcount blocks that count nothing are dropped");
  BYRE_CO_CHECK(co_await perform(std::move(batch), [this, &dropped] {
    for (const std::uint64_t index : dropped) refcount_table_[index] = 0;
  }));
  give_back_freed();
  co_return true;
}

Task<Result<void>> Compaction::cut() {
  std::vector<ClusterRun> holes = map_.holes();
  if (options_.punch) co_await punch_clusters(storage_, geometry_.cluster_bits, std::move(holes));
  const std::uint64_t end = map_.end() << geometry_.cluster_bits;
  BYRE_CO_CHECK(co_await storage_.flush());  // no count behind the end that the file will have
  if (end < storage_.size_bytes()) BYRE_CO_CHECK(co_await storage_.resize(end));
  co_return co_await storage_.flush();
}

}  // namespace byre
