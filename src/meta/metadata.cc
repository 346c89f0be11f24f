// Composition of the parts, and what concerns reading, pages and write-back. Changes of the mapping are in edit.cc.

#include "meta/metadata.h"

#include <algorithm>
#include <cstring>

#include "base/endian.h"
#include "base/math.h"
#include "base/probe.h"
#include "base/text.h"
#include "format/entry.h"
#include "format/header.h"

namespace byre::meta {
namespace {

constexpr std::size_t page_limit_bytes = 4096;
constexpr std::size_t max_pending_drops = 1 << 16;

// Both tables of an L2 copy must fit at once.
std::size_t cache_capacity(const MetadataParts& parts) {
  return std::max<std::size_t>(parts.cache_size_bytes, 4 * parts.geometry.cluster_size_bytes());
}

void append_write(std::vector<CutWrite>& writes, HostOffset at, ConstBytes bytes) {
  if (writes.empty() || writes.back().at + writes.back().bytes.size() != at) writes.push_back({at, {}});
  writes.back().bytes.insert(writes.back().bytes.end(), bytes.begin(), bytes.end());
}

void append_sectors(std::vector<CutWrite>& writes, const ResidentTable& table, const std::set<std::uint32_t>& sectors) {
  for (const std::uint32_t sector : sectors) {
    append_write(writes, table.offset() + std::uint64_t{sector} * ResidentTable::sector_size_bytes,
                 table.encode_sector(sector));
  }
}

}  // namespace

Metadata::Metadata(MetadataParts parts)
    : geometry_(parts.geometry),
      has_backing_(parts.has_backing),
      cache_(std::min<std::size_t>(page_limit_bytes, parts.geometry.cluster_size_bytes()), cache_capacity(parts)),
      refcounts_(geometry_, cache_, std::move(parts.refcount_table)),
      mapping_(geometry_, cache_, std::move(parts.l1)),
      allocator_(geometry_, cache_, refcounts_, life_, guard_, drops_, leases_,
                 HostOffset(round_up(parts.file_size_bytes, geometry_.cluster_size_bytes()))),
      packer_(geometry_, refcounts_, allocator_) {
  allocator_.set_table_clusters(parts.refcount_table_clusters);
}

Result<std::unique_ptr<Metadata>> Metadata::create(MetadataParts parts) {
  const std::vector<MetadataRegion> regions = std::move(parts.regions);
  const std::vector<HostOffset> bitmap_data = std::move(parts.bitmap_data);
  const bool writable = parts.writable;
  std::unique_ptr<Metadata> metadata(new Metadata(std::move(parts)));
  if (writable) {
    BYRE_CHECK(metadata->register_metadata(regions));
    metadata->register_bitmap_data(bitmap_data);
  }
  return metadata;
}

Result<void> Metadata::register_metadata(const std::vector<MetadataRegion>& regions) {
  const auto add = [this](MetadataKind kind, HostOffset at, std::uint64_t length_bytes) -> Result<void> {
    const std::uint64_t clusters = geometry_.clusters_for(length_bytes);
    const auto taken = guard_.add(kind, cluster_of(at), clusters);
    if (!taken) return {};
    return fail(ErrorCode::corrupt, "the {} at {:#x} overlaps the {}: the image may not be written, check it first",
                describe(kind), at.bytes, describe(*taken));
  };
  for (const MetadataRegion& region : regions) BYRE_CHECK(add(region.kind, region.at, region.length_bytes));
  const ResidentTable& table = refcounts_.table();
  for (std::uint64_t i = 0; i < table.size(); ++i) {
    if (table[i] == 0) continue;
    const auto block = format::decode_refcount_table_entry(geometry_, table[i]);
    if (!block || !fits_within(block->bytes, geometry_.cluster_size_bytes(), host_end().bytes)) {
      return fail(ErrorCode::corrupt, "refcount table entry {} is {:#x}: {}; the image may not be written", i, table[i],
                  block ? "behind the end of the file" : format::describe(block.error()));
    }
    BYRE_CHECK(add(MetadataKind::refcount_block, *block, geometry_.cluster_size_bytes()));
  }
  for (std::uint64_t i = 0; i < mapping_.l1().size(); ++i) {
    // A malformed or wild entry fails the requests that need it, not the opening (H-20, H-21). A wild one takes its
    // place all the same: if the file grew to there, what came to lie there would be read as a table.
    const auto entry = format::decode_l1_entry(geometry_, mapping_.l1()[i]);
    if (!entry || entry->l2_table.bytes == 0) continue;
    BYRE_CHECK(add(MetadataKind::l2_table, entry->l2_table, geometry_.cluster_size_bytes()));
  }
  return {};
}

// What a bitmap claims of other metadata is no danger to it: bitmap data is never written (H-47). What lies behind the
// file's end is left out: once the bitmaps bit is cleared, before the file grows, nobody looks there.
void Metadata::register_bitmap_data(const std::vector<HostOffset>& clusters) {
  for (const HostOffset at : clusters) {
    if (at < host_end()) guard_.add(MetadataKind::bitmap_data, cluster_of(at), 1);
  }
}

void Metadata::page_loaded(HostOffset at, PageKind kind, ConstBytes bytes) {
  if (cache_.find(at)) return;
  Page& page = cache_.insert(at, kind);
  std::memcpy(page.bytes.get(), bytes.data(), std::min(bytes.size(), cache_.page_size_bytes()));
}

Outcome<WriteTarget> Metadata::write_target(GuestOffset at, std::uint64_t max_length_bytes) {
  BYRE_TRY(const MappedExtent extent, lookup(at, max_length_bytes));
  const bool in_place = extent.kind == format::ClusterKind::normal && extent.copied && !geometry_.extended_l2;
  if (!in_place) return WriteTarget{extent.length_bytes, false, {}};
  const std::uint64_t first = cluster_of(extent.host);
  const std::uint64_t last = cluster_of(extent.host + (extent.length_bytes - 1));
  for (std::uint64_t cluster = first; cluster <= last; ++cluster) BYRE_CHECK(check_sole_owner(cluster, at));
  return WriteTarget{extent.length_bytes, true, extent.host};
}

Outcome<void> Metadata::check_sole_owner(std::uint64_t cluster, GuestOffset at) {
  BYRE_TRY(const std::uint64_t count, refcounts_.get(cluster, host_end()));
  const auto kind = guard_.at(cluster);
  if (count == 1 && !kind) [[likely]]
    return {};
  std::string what = kind ? fmt::format("belongs to the {}", describe(*kind)) : fmt::format("has refcount {}", count);
  return std::unexpected(Stop::corrupted(Error(
      ErrorCode::corrupt, fmt::format("guest offset {:#x} is mapped for writing in place to host cluster {}, which {}",
                                      at.bytes, cluster, what))));
}

// A reservation pins an L2 entry and a refcount for each cluster: a quarter of the cache at most.
std::uint64_t Metadata::max_reserved_clusters() const {
  return std::clamp<std::uint64_t>(cache_.capacity_bytes() / 64, 1, 4096);
}

bool Metadata::wants_write_back() const {
  return cache_.dirty_bytes() > cache_.capacity_bytes() / 2 || drops_.size() > max_pending_drops;
}

bool Metadata::dirty() const {
  return cache_.dirty_bytes() > 0 || mapping_.l1().dirty() || refcounts_.table().dirty() || allocator_.table_moved() ||
         l1_moved_;
}

// Below half of the cache, so that the limit of wants_write_back() is not met again at once.
bool Metadata::counts_must_be_written() const {
  return allocator_.table_moved() || cache_.dirty_bytes(PageKind::refcount) > cache_.capacity_bytes() / 4;
}

Cut Metadata::begin_cut(CutScope scope) {
  if (scope == CutScope::mapping && counts_must_be_written()) {
    BYRE_PROBE("metadata: a cut with lazy refcounts takes them along");
    scope = CutScope::all;
  }
  Cut cut;
  cut.scope = scope;
  cut.drop_mark = drops_.mark();
  cut.made = std::exchange(links_made_, {});
  cut_pages(cut);
  if (scope == CutScope::all) cut_refcount_table(cut);
  cut_l1(cut);
  return cut;
}

void Metadata::cut_pages(Cut& cut) {
  const bool all = cut.scope == CutScope::all;
  std::vector<Page*> pages = cache_.take_dirty(all ? std::nullopt : std::optional(PageKind::l2));
  std::ranges::sort(pages, {}, [](const Page* page) { return page->at; });
  for (Page* page : pages) {
    const bool counts = page->kind == PageKind::refcount;
    const auto kind = guard_.at(cluster_of(page->at));
    BYRE_ASSERT(kind == (counts ? MetadataKind::refcount_block : MetadataKind::l2_table));
    append_write(counts ? cut.counts : cut.links, page->at, {page->bytes.get(), cache_.page_size_bytes()});
    cut.pages.push_back(page->at);
  }
}

void Metadata::cut_refcount_table(Cut& cut) {
  ResidentTable& table = refcounts_.table();
  cut.table_sectors = table.take_dirty();
  cut.table_moved = allocator_.table_moved();
  allocator_.set_table_moved(false);
  append_sectors(cut.table, table, cut.table_sectors);
  if (!cut.table_moved) return;
  std::byte pointer[12];
  store_be64(pointer, table.offset().bytes);
  store_be32(pointer + 8, allocator_.table_clusters());
  append_write(cut.pointer, HostOffset(format::header_field::refcount_table), pointer);
}

void Metadata::cut_l1(Cut& cut) {
  cut.l1_sectors = mapping_.l1().take_dirty();
  append_sectors(cut.roots, mapping_.l1(), cut.l1_sectors);
  cut.l1_moved = std::exchange(l1_moved_, false);
  if (!cut.l1_moved) return;
  std::byte pointer[12];
  store_be32(pointer, static_cast<std::uint32_t>(mapping_.l1().size()));
  store_be64(pointer + 4, mapping_.l1().offset().bytes);
  append_write(cut.l1_pointer, HostOffset(format::header_field::l1_table), pointer);
}

void Metadata::finish_cut(const Cut& cut, bool durable) {
  cache_.release_cut(cut.pages, durable);
  if (durable) {
    drops_.make_durable(cut.drop_mark);
    return;
  }
  BYRE_PROBE("metadata: a cut that failed is dirty again");
  links_made_.add(cut.made);
  refcounts_.table().mark_dirty(cut.table_sectors);
  mapping_.l1().mark_dirty(cut.l1_sectors);
  if (cut.table_moved) allocator_.set_table_moved(true);
  if (cut.l1_moved) l1_moved_ = true;
}

Outcome<std::optional<HostRun>> Metadata::release_quiet() {
  HostRun punched;
  while (const Drop* next = drops_.next_quiet(leases_)) {
    const Drop drop = *next;
    const std::uint64_t run_end = cluster_of(punched.at) + punched.clusters;
    if (punched.clusters > 0 && drop.cluster != run_end) break;
    const auto punching = subtract(drop);
    if (!punching && punched.clusters == 0) return std::unexpected(punching.error());
    if (!punching) break;  // what is punching already comes first
    drops_.pop();
    if (!*punching && punched.clusters > 0) break;
    if (!*punching) continue;
    if (punched.clusters == 0) punched.at = host_at(drop.cluster);
    ++punched.clusters;
  }
  return punched.clusters == 0 ? std::nullopt : std::optional(punched);
}

// Lowers one count. True if it was the last reference and the cluster must be punched before it is free.
Outcome<bool> Metadata::subtract(const Drop& drop) {
  BYRE_TRY(Page * page, refcounts_.page_of(drop.cluster, host_end()));
  const std::uint64_t count = page ? refcounts_.load(*page, drop.cluster) : 0;
  if (count < life_.going(drop.cluster)) {
    note_damage(fmt::format("host cluster {} has refcount {} but more references (H-44)", drop.cluster, count));
    life_.drop_one(drop.cluster);
    return false;
  }
  if (count > 1) {
    BYRE_PROBE("metadata: a shared cluster loses one reference");
    refcounts_.store(*page, drop.cluster, count - 1);
    life_.drop_one(drop.cluster);
    return false;
  }
  if (drop.table) cache_.forget(host_at(drop.cluster), geometry_.cluster_size_bytes());
  packer_.forget(drop.cluster);
  life_.quiet(drop.cluster);
  if (drop.punch) {
    life_.punch(drop.cluster);
    return true;
  }
  set_free(*page, drop.cluster);
  return false;
}

void Metadata::set_free(Page& page, std::uint64_t cluster) {
  refcounts_.store(page, cluster, 0);
  life_.release(cluster);
  allocator_.note_free(cluster);
}

Outcome<void> Metadata::finish_punch(HostRun& run) {
  for (; run.clusters > 0; --run.clusters, run.at += geometry_.cluster_size_bytes()) {
    BYRE_TRY(Page * page, refcounts_.page_of(cluster_of(run.at), host_end()));
    BYRE_ASSERT(page);
    life_.unpunch(cluster_of(run.at));
    set_free(*page, cluster_of(run.at));
  }
  return {};
}

void Metadata::note_damage(std::string message) {
  if (!damage_) damage_ = Error(ErrorCode::corrupt, std::move(message));
}

}  // namespace byre::meta
