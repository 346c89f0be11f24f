#include "meta/refcounts.h"

#include "base/math.h"
#include "base/text.h"
#include "format/entry.h"
#include "format/refcount.h"

namespace byre::meta {

Outcome<Page*> Refcounts::page_of(std::uint64_t cluster, HostOffset host_end) {
  const std::uint64_t index = cluster / counts_per_block();
  if (index >= table_.size() || table_[index] == 0) return nullptr;
  const auto block = format::decode_refcount_table_entry(geometry_, table_[index]);
  const bool inside = block && fits_within(block->bytes, geometry_.cluster_size_bytes(), host_end.bytes);
  if (!inside) {
    return std::unexpected(Stop::corrupted(
        Error(ErrorCode::corrupt,
              fmt::format("refcount table entry {} is {:#x}: {}", index, table_[index],
                          block ? "it points behind the end of the file" : format::describe(block.error())))));
  }
  const std::uint64_t page_index = cluster % counts_per_block() / counts_per_page();
  const HostOffset at = *block + page_index * cache_.page_size_bytes();
  if (Page* page = cache_.find(at)) return page;
  return std::unexpected(Stop::missing({at, PageKind::refcount, 1}));
}

Outcome<std::uint64_t> Refcounts::get(std::uint64_t cluster, HostOffset host_end) {
  BYRE_TRY(const Page* page, page_of(cluster, host_end));
  return page ? load(*page, cluster) : 0;
}

std::uint64_t Refcounts::load(const Page& page, std::uint64_t cluster) const {
  return format::load_refcount(page.bytes.get(), geometry_.refcount_order, cluster % counts_per_page());
}

void Refcounts::store(Page& page, std::uint64_t cluster, std::uint64_t count) {
  format::store_refcount(page.bytes.get(), geometry_.refcount_order, cluster % counts_per_page(), count);
  cache_.mark_dirty(page);
}

std::uint64_t Refcounts::find_free(const Page& page, std::uint64_t first, std::uint64_t last) const {
  const std::uint64_t page_start = round_down(first, counts_per_page());
  return page_start +
         format::find_zero_refcount(page.bytes.get(), geometry_.refcount_order, first - page_start, last - page_start);
}

bool Refcounts::counts_only(const Page& page, std::uint64_t first, std::uint64_t cluster) const {
  const std::uint64_t end = first + counts_per_page();
  if (cluster < first || cluster >= end) return is_all_zero({page.bytes.get(), cache_.page_size_bytes()});
  for (std::uint64_t other = first; other < end; ++other) {
    if (load(page, other) != (other == cluster ? 1 : 0)) return false;
  }
  return true;
}

std::uint64_t Refcounts::maximum() const { return format::max_refcount(geometry_.refcount_order); }

}  // namespace byre::meta
