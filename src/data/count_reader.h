// Looks up single counts on the disk, past the page cache, for operations that walk over all tables.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "format/geometry.h"

namespace byre {

// Keeps the refcount blocks that were loaded; all are forgotten when they become too many: a walk does not come back.
class CountReader {
 public:
  CountReader(Storage& storage, const format::Geometry& geometry, const std::vector<std::uint64_t>& table)
      : storage_(storage), geometry_(geometry), table_(table) {}

  // Loads what is missing of the blocks behind these refcount table entries.
  Task<Result<void>> load(std::vector<std::uint64_t> indexes);

  // The count of a cluster whose block was loaded; 0 where there is none.
  std::uint64_t count(std::uint64_t cluster) const;

 private:
  static constexpr std::uint64_t no_index = ~std::uint64_t{0};
  Storage& storage_;
  const format::Geometry geometry_;
  const std::vector<std::uint64_t>& table_;
  std::unordered_map<std::uint64_t, Buffer> blocks_;
  mutable std::uint64_t last_index_ = no_index;  // neighbours are asked for one after the other
  mutable const std::byte* last_ = nullptr;
};

}  // namespace byre
