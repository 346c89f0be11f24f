// Least recently used, with two kinds of pages that stay: dirty ones (in memory only) and pages of the running cut
// (reading them back could fetch what they replace). The data path starts a write-back long before those fill the
// cache, so the search for a victim is short.

#include "meta/page_cache.h"

#include <algorithm>
#include <cstring>

#include "base/probe.h"
#include "byre/base/assert.h"

namespace byre::meta {

PageHold::PageHold(PageCache& cache) : cache_(cache) { ++cache_.holds_; }
PageHold::~PageHold() { --cache_.holds_; }

PageCache::PageCache(std::size_t page_size_bytes, std::size_t capacity_bytes)
    : page_size_(page_size_bytes), capacity_(std::max<std::size_t>(capacity_bytes / page_size_bytes, 8)) {}

Page* PageCache::find(HostOffset at) {
  // Neighbouring clusters have their counts in one page: it needs no search.
  if (!uses_.empty() && uses_.front()->at == at) return uses_.front();
  const auto found = pages_.find(at.bytes);
  if (found == pages_.end()) return nullptr;
  Page& page = found->second;
  if (page.use != uses_.begin()) uses_.splice(uses_.begin(), uses_, page.use);
  return &page;
}

Page& PageCache::insert(HostOffset at, PageKind kind) {
  make_room();
  auto [where, is_new] = pages_.try_emplace(at.bytes);
  BYRE_ASSERT(is_new);
  Page& page = where->second;
  page.at = at;
  page.kind = kind;
  page.bytes = std::make_unique<std::byte[]>(page_size_);
  uses_.push_front(&page);
  page.use = uses_.begin();
  return page;
}

void PageCache::make_room() {
  if (holds_ > 0) return;
  auto candidate = uses_.end();
  for (int tries = 0; pages_.size() >= capacity_ && tries < 64 && candidate != uses_.begin(); ++tries) {
    --candidate;
    Page& page = **candidate;
    if (page.in_cut) BYRE_PROBE("page cache: a page of the running cut stays");
    if (page.dirty || page.in_cut || page.pins > 0) continue;
    ++candidate;
    BYRE_PROBE("page cache: a page is evicted");
    remove(page);
  }
}

void PageCache::remove(Page& page) {
  BYRE_ASSERT(page.pins == 0);
  uses_.erase(page.use);
  if (page.dirty) std::erase(dirty_, &page);
  pages_.erase(page.at.bytes);
}

void PageCache::forget(HostOffset at, std::uint64_t length_bytes) {
  for (std::uint64_t offset = 0; offset < length_bytes; offset += page_size_) {
    const auto found = pages_.find(at.bytes + offset);
    if (found != pages_.end()) remove(found->second);
  }
}

void PageCache::mark_dirty(Page& page) {
  if (page.dirty) return;
  page.dirty = true;
  dirty_.push_back(&page);
}

std::vector<Page*> PageCache::take_dirty(std::optional<PageKind> only) {
  std::vector<Page*> taken;
  std::vector<Page*> left;
  for (Page* page : dirty_) (!only || page->kind == *only ? taken : left).push_back(page);
  dirty_ = std::move(left);
  for (Page* page : taken) {
    page->dirty = false;
    page->in_cut = true;
  }
  return taken;
}

std::size_t PageCache::dirty_bytes(PageKind kind) const {
  return static_cast<std::size_t>(std::ranges::count(dirty_, kind, &Page::kind)) * page_size_;
}

void PageCache::release_cut(const std::vector<HostOffset>& pages, bool durable) {
  for (const HostOffset at : pages) {
    const auto found = pages_.find(at.bytes);
    if (found == pages_.end() || !found->second.in_cut) continue;  // forgotten while the cut was written
    found->second.in_cut = false;
    if (!durable) mark_dirty(found->second);
  }
}

}  // namespace byre::meta
