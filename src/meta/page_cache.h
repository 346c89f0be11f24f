// The bounded store of L2 and refcount pages. A page is min(cluster size, 4 KiB) of one table, keyed by its host
// offset. A dirty page leaves only through a cut (write_back.h): it is never evicted, nor written, on its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/base/units.h"
#include "meta/outcome.h"

namespace byre::meta {

struct Page {
  HostOffset at;
  PageKind kind = PageKind::l2;
  bool dirty = false;      // differs from what was written or will be by the running cut
  bool in_cut = false;     // copied into the running cut: the file may not have it yet
  std::uint32_t pins = 0;  // reservations that will change it without being able to wait
  std::unique_ptr<std::byte[]> bytes;
  std::list<Page*>::iterator use;
};

// Keeps a page in the cache for as long as it lives.
class PagePin {
 public:
  explicit PagePin(Page& page) : page_(&page) { ++page_->pins; }
  PagePin(PagePin&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
  PagePin& operator=(PagePin&&) = delete;
  ~PagePin() {
    if (page_) --page_->pins;
  }

 private:
  Page* page_;
};

class PageCache;

// While one exists nothing is evicted: a decision that keeps losing pages to other requests gets through.
class PageHold {
 public:
  explicit PageHold(PageCache& cache);
  PageHold(const PageHold&) = delete;
  PageHold& operator=(const PageHold&) = delete;
  ~PageHold();

 private:
  PageCache& cache_;
};

class PageCache {
 public:
  PageCache(std::size_t page_size_bytes, std::size_t capacity_bytes);

  std::size_t page_size_bytes() const { return page_size_; }

  // The page at exactly this offset, or null. Counts as a use. Valid until the next insert() or forget().
  Page* find(HostOffset at);

  // A new page full of zeros; there must be none at `at`. Evicts clean, unpinned pages; where there are none the cache
  // grows past its capacity rather than fail.
  Page& insert(HostOffset at, PageKind kind);

  // Drops the pages in the range, dirty or not: the table they belong to is gone. None may be pinned.
  void forget(HostOffset at, std::uint64_t length_bytes);

  void mark_dirty(Page& page);

  // Hands over all dirty pages, or those of one kind; they are clean afterwards and marked in_cut until release_cut().
  std::vector<Page*> take_dirty(std::optional<PageKind> only = {});
  // Ends the cut: its pages may be evicted again. If they did not become durable, they are dirty again.
  void release_cut(const std::vector<HostOffset>& pages, bool durable);

  std::size_t dirty_bytes() const { return dirty_.size() * page_size_; }
  std::size_t dirty_bytes(PageKind kind) const;
  std::size_t capacity_bytes() const { return capacity_ * page_size_; }
  std::size_t size_bytes() const { return pages_.size() * page_size_; }

 private:
  friend class PageHold;
  void make_room();
  void remove(Page& page);

  std::size_t page_size_;
  std::size_t capacity_;  // in pages
  std::size_t holds_ = 0;
  std::unordered_map<std::uint64_t, Page> pages_;
  std::list<Page*> uses_;  // most recent first
  std::vector<Page*> dirty_;
};

}  // namespace byre::meta
