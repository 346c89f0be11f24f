// A table that is kept whole in memory (L1, refcount table) and written back by 512-byte sector, so that a torn write
// never mixes two versions of an entry.
#pragma once

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "byre/base/units.h"

namespace byre::meta {

class ResidentTable {
 public:
  static constexpr std::uint32_t sector_size_bytes = 512;
  static constexpr std::uint32_t entries_per_sector = sector_size_bytes / 8;

  ResidentTable() = default;
  // `entries` are in host byte order; `offset` is where entry 0 lies in the file.
  ResidentTable(HostOffset offset, std::vector<std::uint64_t> entries)
      : offset_(offset), entries_(std::move(entries)) {}

  HostOffset offset() const { return offset_; }
  std::uint64_t size() const { return entries_.size(); }
  std::uint64_t operator[](std::uint64_t index) const { return entries_[index]; }
  const std::vector<std::uint64_t>& entries() const { return entries_; }
  void set(std::uint64_t index, std::uint64_t raw);

  // Continues at another place with more entries (zeros); everything is dirty there.
  void move_to(HostOffset offset, std::uint64_t entries);

  bool dirty() const { return !dirty_sectors_.empty(); }
  std::set<std::uint32_t> take_dirty() { return std::exchange(dirty_sectors_, {}); }
  void mark_dirty(const std::set<std::uint32_t>& sectors) { dirty_sectors_.insert(sectors.begin(), sectors.end()); }
  // The sector's bytes as they belong in the file; the last one may be shorter than a sector.
  std::vector<std::byte> encode_sector(std::uint32_t sector) const;

 private:
  HostOffset offset_;
  std::vector<std::uint64_t> entries_;
  std::set<std::uint32_t> dirty_sectors_;
};

}  // namespace byre::meta
