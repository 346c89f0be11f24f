// A refcount block is placed as soon as all clusters that it counts have been handed out, and its own cluster is
// counted by one of the next. The last ones and the table lie at the end and count themselves, so their number is a
// fixed point, found by repeating the estimate. Places are decided at once, and written when the caller can wait.
// Blocks with counts that may change have their places as the others, and are written at the end.
//
// Leaves out: preallocation.

#include "data/image_writer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/endian.h"
#include "base/math.h"
#include "base/text.h"
#include "byre/base/assert.h"
#include "format/entry.h"
#include "format/limits.h"
#include "format/refcount.h"

namespace byre {
namespace {

std::vector<std::byte> encode_table(const std::vector<std::uint64_t>& entries) {
  std::vector<std::byte> bytes(entries.size() * 8);
  for (std::size_t i = 0; i < entries.size(); ++i) store_be64(bytes.data() + i * 8, entries[i]);
  return bytes;
}

}  // namespace

Task<Result<void>> erase_image(Storage& storage, std::uint64_t cluster_bytes) {
  const std::uint64_t header_end = std::min(storage.size_bytes(), cluster_bytes);
  if (header_end == 0) co_return Result<void>{};
  BYRE_CO_CHECK(co_await storage.zero(0, header_end, false));
  [[maybe_unused]] const auto cut = co_await storage.resize(header_end);  // a device keeps its length
  co_return Result<void>{};
}

Task<Result<void>> write_header_last(Storage& storage, const format::Header& header) {
  BYRE_CO_TRY(const std::vector<std::byte> encoded, format::encode_header(header));
  BYRE_CO_CHECK(co_await storage.flush());
  const ConstBytes bytes(encoded);
  BYRE_CO_CHECK(co_await write_bytes(storage, 0, bytes));
  co_return co_await storage.flush();
}

ImageWriter::ImageWriter(Storage& storage, format::Header header)
    : storage_(storage), header_(std::move(header)), geometry_(header_.geometry()) {}

std::uint64_t ImageWriter::most_references() const {
  return std::min<std::uint64_t>(format::max_refcount(geometry_.refcount_order),
                                 std::numeric_limits<std::uint32_t>::max());
}

Result<void> ImageWriter::check_references(std::uint64_t references) const {
  const std::uint64_t most = most_references();
  if (references <= most) return {};
  return fail_in(storage_.name(), ErrorCode::unsupported,
                 "a cluster would have {} references, but refcount_bits={} counts to {}: use wider refcounts",
                 references, geometry_.refcount_bits(), most);
}

Result<HostOffset> ImageWriter::place(std::uint64_t clusters, std::uint64_t references) {
  BYRE_CHECK(check_references(references));
  const std::uint64_t first = cluster_count();
  if (first + clusters > format::max_host_offset >> geometry_.cluster_bits) {
    return fail_in(storage_.name(), ErrorCode::no_space,
                   "the image would be longer than {}, which no entry can point to",
                   human_size(format::max_host_offset));
  }
  counts_.resize(counts_.size() + clusters, static_cast<std::uint32_t>(references));
  payload_end_bytes_ = 0;
  complete_blocks();
  return geometry_.host_cluster(first);
}

// The last cluster of the file may yet get payloads: its block waits.
void ImageWriter::complete_blocks() {
  while (counts_.size() > geometry_.refcounts_per_block()) {
    const HostOffset at = geometry_.host_cluster(cluster_count());
    counts_.push_back(1);
    payload_end_bytes_ = 0;
    take_block(at);
  }
}

// A block at `at` gets the first counts that no block has.
void ImageWriter::take_block(HostOffset at) {
  const std::uint64_t count = std::min<std::uint64_t>(counts_.size(), geometry_.refcounts_per_block());
  Buffer block(geometry_.cluster_size_bytes(), Buffer::Fill::zero);
  for (std::uint64_t i = 0; i < count; ++i) {
    format::store_refcount(block.data(), geometry_.refcount_order, i, counts_[i]);
  }
  counts_.erase(counts_.begin(), counts_.begin() + static_cast<std::ptrdiff_t>(count));
  if (kept_end_ > first_count_) {
    kept_blocks_.emplace(blocks_.size(), std::move(block));
  } else {
    pending_.emplace_back(at, std::move(block));
  }
  first_count_ += count;
  blocks_.push_back(at);
}

std::uint64_t ImageWriter::count_of(std::uint64_t cluster) const {
  if (cluster >= first_count_) return counts_[cluster - first_count_];
  const Buffer& block = kept_blocks_.at(geometry_.refcount_table_index(cluster));
  return format::load_refcount(block.data(), geometry_.refcount_order, geometry_.refcount_block_index(cluster));
}

void ImageWriter::add_to_count(std::uint64_t cluster) {
  const std::uint64_t count = count_of(cluster) + 1;
  if (cluster >= first_count_) {
    counts_[cluster - first_count_] = static_cast<std::uint32_t>(count);
    return;
  }
  Buffer& block = kept_blocks_.at(geometry_.refcount_table_index(cluster));
  format::store_refcount(block.data(), geometry_.refcount_order, geometry_.refcount_block_index(cluster), count);
}

bool ImageWriter::add_reference(HostOffset at, std::uint64_t length_bytes, std::uint64_t most) {
  const std::uint64_t first = geometry_.cluster_index(at);
  const std::uint64_t last = geometry_.cluster_index(at + (length_bytes - 1));
  for (std::uint64_t cluster = first; cluster <= last; ++cluster) {
    if (count_of(cluster) >= std::min(most, most_references())) return false;
  }
  for (std::uint64_t cluster = first; cluster <= last; ++cluster) add_to_count(cluster);
  return true;
}

Result<HostOffset> ImageWriter::place_payload(std::uint64_t payload_bytes, std::uint64_t references) {
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  const std::uint64_t used_bytes = payload_end_bytes_ % cluster_size;
  const bool goes_on = used_bytes != 0 && used_bytes + payload_bytes <= 2 * cluster_size &&
                       check_references(counts_.back() + references);
  const std::uint64_t begin = goes_on ? payload_end_bytes_ : cluster_count() << geometry_.cluster_bits;
  const std::uint64_t end = begin + payload_bytes;
  if (goes_on) counts_.back() += static_cast<std::uint32_t>(references);
  const std::uint64_t more = ceil_div(end, cluster_size) - cluster_count();
  if (more > 0) BYRE_CHECK(place(more, references));
  // A refcount block may have come behind it.
  payload_end_bytes_ = ceil_div(end, cluster_size) == cluster_count() ? end : 0;
  return HostOffset(begin);
}

Result<HostOffset> ImageWriter::place_table(const std::vector<std::uint64_t>& words, std::uint64_t references) {
  if (std::ranges::all_of(words, [](std::uint64_t word) { return word == 0; })) return HostOffset(0);
  BYRE_TRY(const HostOffset at, place(1, references));
  Buffer table(geometry_.cluster_size_bytes(), Buffer::Fill::zero);
  for (std::size_t i = 0; i < words.size(); ++i) store_be64(table.data() + i * 8, words[i]);
  pending_.emplace_back(at, std::move(table));
  return at;
}

Task<Result<void>> ImageWriter::write_pending() {
  const auto pending = std::exchange(pending_, {});
  for (const auto& [at, buffer] : pending) {
    const ConstBytes bytes = buffer.bytes();
    BYRE_CO_CHECK(co_await write_bytes(storage_, at.bytes, bytes));
  }
  co_return Result<void>{};
}

// In clusters of its own, the last one filled up with zeros. Nothing lies at 0.
Task<Result<HostOffset>> ImageWriter::store(ConstBytes bytes) {
  if (bytes.empty()) co_return HostOffset(0);
  BYRE_CO_TRY(const HostOffset at, place(geometry_.clusters_for(bytes.size()), 1));
  BYRE_CO_CHECK(co_await write_filled_up(storage_, at.bytes, bytes, geometry_.cluster_size_bytes()));
  co_return at;
}

Task<Result<HostOffset>> ImageWriter::store_l1(const std::vector<std::uint64_t>& l1) {
  if (l1.size() > format::max_l1_entries) {
    co_return fail_in(
        storage_.name(), ErrorCode::unsupported,
        "the disk with its VM state needs an L1 table of {}, above the limit of {}; use a larger cluster_size",
        human_size(l1.size() * 8), human_size(format::max_l1_bytes));
  }
  const std::vector<std::byte> bytes = encode_table(l1);
  co_return co_await store(bytes);
}

Task<Result<void>> ImageWriter::store_counts() {
  std::uint64_t blocks = 0;
  std::uint64_t table_clusters = 0;
  for (;;) {
    const std::uint64_t more_blocks =
        ceil_div(counts_.size() + blocks + table_clusters, geometry_.refcounts_per_block());
    const std::uint64_t more_table =
        ceil_div(blocks_.size() + more_blocks, geometry_.refcount_table_entries_per_cluster());
    if (more_blocks == blocks && more_table == table_clusters) break;
    blocks = more_blocks;
    table_clusters = more_table;
  }
  if (table_clusters << geometry_.cluster_bits > format::max_refcount_table_bytes) {
    co_return fail_in(
        storage_.name(), ErrorCode::unsupported,
        "the image needs a refcount table of {}, above the limit of {}; use a larger cluster_size or fewer "
        "refcount_bits",
        human_size(table_clusters << geometry_.cluster_bits), human_size(format::max_refcount_table_bytes));
  }
  const HostOffset first_block = geometry_.host_cluster(cluster_count());
  counts_.resize(counts_.size() + blocks + table_clusters, 1);
  for (std::uint64_t i = 0; i < blocks; ++i) take_block(first_block + (i << geometry_.cluster_bits));
  BYRE_ASSERT(counts_.empty());
  for (auto& [index, block] : std::exchange(kept_blocks_, {})) pending_.emplace_back(blocks_[index], std::move(block));
  std::vector<std::uint64_t> table(table_clusters * geometry_.refcount_table_entries_per_cluster());
  for (std::size_t i = 0; i < blocks_.size(); ++i) table[i] = format::encode_refcount_table_entry(blocks_[i]);
  const std::vector<std::byte> bytes = encode_table(table);
  header_.refcount_table = first_block + (blocks << geometry_.cluster_bits);
  header_.refcount_table_clusters = static_cast<std::uint32_t>(table_clusters);
  BYRE_CO_CHECK(co_await write_pending());
  const ConstBytes all(bytes);
  co_return co_await write_bytes(storage_, header_.refcount_table.bytes, all);
}

Task<Result<void>> ImageWriter::finish(Tables tables) {
  header_.virtual_size_bytes = tables.size_bytes;
  header_.l1_entries = static_cast<std::uint32_t>(tables.l1.size());
  BYRE_CO_TRY(header_.l1_table, co_await store_l1(tables.l1));
  for (std::size_t i = 0; i < tables.snapshots.size(); ++i) {
    tables.snapshots[i].l1_entries = static_cast<std::uint32_t>(tables.snapshot_l1[i].size());
    BYRE_CO_TRY(tables.snapshots[i].l1_table, co_await store_l1(tables.snapshot_l1[i]));
  }
  header_.snapshot_count = static_cast<std::uint32_t>(tables.snapshots.size());
  BYRE_CO_TRY(const std::vector<std::byte> table, format::encode_snapshot_table(tables.snapshots, tables.size_bytes));
  BYRE_CO_TRY(header_.snapshot_table, co_await store(table));
  BYRE_CO_CHECK(co_await store_counts());
  co_return co_await write_header_last(storage_, header_);
}

}  // namespace byre
