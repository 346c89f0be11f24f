// Codes of a cluster. The first four fit into two bits.
//
//   0 no reference   1 one, COPIED   2 one, no claim   3 one, without COPIED
//   4..253 two and more (code - 2), none of them claiming COPIED
//   254 two and more, one of them claiming COPIED; 255 more than 251: both in the side table

#include "check/reference_map.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <ranges>

#include "base/math.h"
#include "byre/base/assert.h"

namespace byre::check {
namespace {

constexpr unsigned one_copied = 1;
constexpr unsigned one_unclaimed = 2;
constexpr unsigned one_shared = 3;
constexpr unsigned copied_side = 254;
constexpr unsigned large_side = 255;
constexpr std::uint64_t narrow_bytes = ReferenceMap::clusters_per_page / 4;
constexpr std::uint64_t in_each_pair_of_bits = 0x5555'5555'5555'5555;
constexpr std::uint64_t in_each_byte = 0x0101'0101'0101'0101;

unsigned code_of_one(Claim claim) {
  if (claim == Claim::none) return one_unclaimed;
  return claim == Claim::copied ? one_copied : one_shared;
}

// Of a cluster without a reference so far; 0 if it takes the side table.
unsigned code_of_first(std::uint64_t count, Claim claim) {
  if (count == 1) return code_of_one(claim);
  return claim != Claim::copied && count <= ReferenceMap::most_uniform ? static_cast<unsigned>(count + 2) : 0;
}

std::uint64_t load_word(const std::uint8_t* at) {
  std::uint64_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

}  // namespace

unsigned ReferenceMap::Page::get(std::uint64_t index) const {
  return wide ? codes[index] : codes[index / 4] >> (index % 4 * 2) & 3u;
}

void ReferenceMap::Page::set(std::uint64_t index, unsigned code) {
  if (code > 3 && !wide) widen();
  if (wide) {
    codes[index] = static_cast<std::uint8_t>(code);
    return;
  }
  const unsigned shift = static_cast<unsigned>(index % 4 * 2);
  const unsigned kept = codes[index / 4] & ~(3u << shift);
  codes[index / 4] = static_cast<std::uint8_t>(kept | code << shift);
}

void ReferenceMap::Page::widen() {
  auto bytes = std::make_unique<std::uint8_t[]>(clusters_per_page);
  for (std::uint64_t i = 0; i < clusters_per_page; ++i) bytes[i] = static_cast<std::uint8_t>(get(i));
  codes = std::move(bytes);
  wide = true;
}

ReferenceMap::Page& ReferenceMap::page_for(std::uint64_t cluster) {
  const std::uint64_t index = cluster / clusters_per_page;
  if (index == last_index_) return const_cast<Page&>(*last_);
  Page& page = pages_[index];
  if (!page.codes) page.codes = std::make_unique<std::uint8_t[]>(narrow_bytes);
  last_index_ = index;
  last_ = &page;
  return page;
}

const ReferenceMap::Page* ReferenceMap::find(std::uint64_t cluster) const {
  const std::uint64_t index = cluster / clusters_per_page;
  if (index == last_index_) return last_;
  const auto found = pages_.find(index);
  if (found == pages_.end()) return nullptr;
  last_index_ = index;
  last_ = &found->second;
  return last_;
}

std::uint64_t ReferenceMap::decode(std::uint64_t cluster, unsigned code) const {
  if (code <= one_shared) return code == 0 ? 0 : 1;
  return code < copied_side ? code - 2 : side_.at(cluster).count;
}

void ReferenceMap::store(Page& page, std::uint64_t cluster, std::uint64_t count, bool copied) {
  const std::uint64_t index = cluster % clusters_per_page;
  const bool beside = copied || count + 2 >= copied_side;
  if (beside) side_[cluster] = {count, copied};
  page.set(index, !beside ? static_cast<unsigned>(count + 2) : copied ? copied_side : large_side);
}

void ReferenceMap::add_slowly(Page& page, std::uint64_t cluster, std::uint64_t count, Claim claim) {
  const unsigned code = page.get(cluster % clusters_per_page);
  if (code == 0 && count == 1) return page.set(cluster % clusters_per_page, code_of_one(claim));
  const bool side_copied = (code == copied_side || code == large_side) && side_.at(cluster).copied;
  const bool copied = claim == Claim::copied || code == one_copied || side_copied;
  store(page, cluster, checked_add(decode(cluster, code), count).value_or(~std::uint64_t{0}), copied);
}

void ReferenceMap::add(std::uint64_t cluster, std::uint64_t count, Claim claim) {
  add_slowly(page_for(cluster), cluster, count, claim);
}

void ReferenceMap::add_run(std::uint64_t first, std::uint64_t clusters, std::uint64_t count, Claim claim) {
  const unsigned code = code_of_first(count, claim);
  for (const std::uint64_t end = first + clusters; first < end;) {
    Page& page = page_for(first);
    if (code > 3 && !page.wide) page.widen();
    const std::uint64_t index = first % clusters_per_page;
    const std::uint64_t step = page.per_word();
    std::uint8_t* word = page.codes.get() + index / step * 8;
    if (code != 0 && index % step == 0 && end - first >= step && load_word(word) == 0) {
      const std::uint64_t pattern = code * (page.wide ? in_each_byte : in_each_pair_of_bits);
      std::memcpy(word, &pattern, sizeof pattern);
      first += step;
    } else {
      add_slowly(page, first++, count, claim);
    }
  }
}

void ReferenceMap::remove(std::uint64_t cluster) {
  Page& page = page_for(cluster);
  const std::uint64_t index = cluster % clusters_per_page;
  const unsigned code = page.get(index);
  BYRE_ASSERT(code != 0);
  if (code <= one_shared) return page.set(index, 0);
  const bool copied = code >= copied_side && side_.at(cluster).copied;
  const std::uint64_t left = decode(cluster, code) - 1;
  if (code >= copied_side) side_.erase(cluster);
  if (left == 1) return page.set(index, copied ? one_copied : one_unclaimed);
  store(page, cluster, left, copied);
}

std::uint64_t ReferenceMap::count(std::uint64_t cluster) const {
  const Page* page = find(cluster);
  return page ? decode(cluster, page->get(cluster % clusters_per_page)) : 0;
}

bool ReferenceMap::any(std::uint64_t first, std::uint64_t clusters) const {
  for (const std::uint64_t end = first + clusters; first < end;) {
    const Page* page = find(first);
    const std::uint64_t index = first % clusters_per_page;
    if (!page) {
      first += clusters_per_page - index;
      continue;
    }
    const std::uint64_t step = page->per_word();
    if (index % step == 0 && end - first >= step) {
      if (load_word(page->codes.get() + index / step * 8) != 0) return true;
      first += step;
    } else {
      if (page->get(index) != 0) return true;
      ++first;
    }
  }
  return false;
}

bool ReferenceMap::contradicts(std::uint64_t cluster, std::uint64_t stored) const {
  const Page* page = find(cluster);
  const unsigned code = page ? page->get(cluster % clusters_per_page) : 0;
  if (code == 0 || code == one_unclaimed) return false;
  const bool copied = code == one_copied || (code >= copied_side && side_.at(cluster).copied);
  return copied ? stored != 1 || code != one_copied : stored == 1;
}

std::optional<std::uint64_t> ReferenceMap::next_referenced(std::uint64_t from) const {
  for (auto page = pages_.lower_bound(from / clusters_per_page); page != pages_.end(); ++page) {
    const std::uint64_t start = page->first * clusters_per_page;
    for (std::uint64_t i = from > start ? from - start : 0; i < clusters_per_page; ++i) {
      if (page->second.get(i) != 0) return start + i;
    }
  }
  return std::nullopt;
}

std::uint64_t ReferenceMap::next_unreferenced(std::uint64_t from) const {
  for (;; ++from) {
    const Page* page = find(from);
    if (!page || page->get(from % clusters_per_page) == 0) return from;
  }
}

std::uint64_t ReferenceMap::end() const {
  for (const auto& [number, page] : std::views::reverse(pages_)) {
    for (std::uint64_t i = clusters_per_page; i > 0; --i) {
      if (page.get(i - 1) != 0) return number * clusters_per_page + i;
    }
  }
  return 0;
}

std::optional<std::uint64_t> ReferenceMap::uniform_32(std::uint64_t first) const {
  const Page* page = find(first);
  if (!page) return 0;
  const std::uint64_t index = first % clusters_per_page;
  const std::uint8_t* codes = page->codes.get() + index / page->per_word() * 8;
  if (!page->wide) {
    const std::uint64_t word = load_word(codes);
    if (word == 0) return 0;
    return word == one_copied * in_each_pair_of_bits ? std::optional<std::uint64_t>(1) : std::nullopt;
  }
  const unsigned code = codes[0];
  if (code == one_unclaimed || code == one_shared || code >= copied_side) return std::nullopt;
  if (std::memcmp(codes, codes + 1, 31) != 0) return std::nullopt;
  return decode(first, code);
}

}  // namespace byre::check
