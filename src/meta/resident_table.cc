#include "meta/resident_table.h"

#include <algorithm>

#include "base/endian.h"
#include "base/math.h"

namespace byre::meta {

void ResidentTable::set(std::uint64_t index, std::uint64_t raw) {
  entries_[index] = raw;
  dirty_sectors_.insert(static_cast<std::uint32_t>(index / entries_per_sector));
}

void ResidentTable::move_to(HostOffset offset, std::uint64_t entries) {
  offset_ = offset;
  entries_.resize(entries);
  const auto sectors = static_cast<std::uint32_t>(ceil_div(entries, entries_per_sector));
  for (std::uint32_t sector = 0; sector < sectors; ++sector) dirty_sectors_.insert(dirty_sectors_.end(), sector);
}

std::vector<std::byte> ResidentTable::encode_sector(std::uint32_t sector) const {
  const std::uint64_t first = std::uint64_t{sector} * entries_per_sector;
  const std::uint64_t count = std::min<std::uint64_t>(entries_per_sector, entries_.size() - first);
  std::vector<std::byte> bytes(count * 8);
  for (std::uint64_t i = 0; i < count; ++i) store_be64(bytes.data() + i * 8, entries_[first + i]);
  return bytes;
}

}  // namespace byre::meta
