#include "data/count_reader.h"

#include "data/batch_io.h"
#include "format/entry.h"
#include "format/refcount.h"

namespace byre {
namespace {
constexpr std::uint64_t most_cached_bytes = 64 << 20;
}  // namespace

Task<Result<void>> CountReader::load(std::vector<std::uint64_t> indexes) {
  if ((blocks_.size() << geometry_.cluster_bits) > most_cached_bytes) {
    blocks_.clear();
    last_index_ = no_index;
  }
  std::vector<BatchPart> parts;
  for (const std::uint64_t index : indexes) {
    if (index >= table_.size() || blocks_.contains(index)) continue;
    const auto block = format::decode_refcount_table_entry(geometry_, table_[index]);
    if (!block || block->bytes == 0) continue;
    Buffer& buffer = blocks_.emplace(index, Buffer(geometry_.cluster_size_bytes())).first->second;
    parts.push_back({block->bytes, buffer.bytes()});
  }
  co_return co_await read_batch(storage_, std::move(parts));
}

std::uint64_t CountReader::count(std::uint64_t cluster) const {
  const std::uint64_t index = geometry_.refcount_table_index(cluster);
  if (index != last_index_) {
    const auto block = blocks_.find(index);
    if (block == blocks_.end()) return 0;
    last_ = block->second.data();
    last_index_ = index;
  }
  return format::load_refcount(last_, geometry_.refcount_order, geometry_.refcount_block_index(cluster));
}

}  // namespace byre
