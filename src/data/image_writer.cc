// The counts of all clusters are kept in memory, four bytes each. The refcount blocks and their table lie at the end of
// the file and count themselves too, so their number is a fixed point, found by repeating the estimate.
//
// Leaves out: backing files, preallocation.

#include "data/image_writer.h"

#include <algorithm>
#include <limits>

#include "base/endian.h"
#include "base/math.h"
#include "base/text.h"
#include "byre/base/assert.h"
#include "format/entry.h"
#include "format/limits.h"
#include "format/refcount.h"

namespace byre {
namespace {

constexpr std::uint64_t piece_bytes = 2 << 20;

std::vector<std::byte> encode_table(const std::vector<std::uint64_t>& entries) {
  std::vector<std::byte> bytes(entries.size() * 8);
  for (std::size_t i = 0; i < entries.size(); ++i) store_be64(bytes.data() + i * 8, entries[i]);
  return bytes;
}

}  // namespace

ImageWriter::ImageWriter(Storage& storage, format::Header header)
    : storage_(storage), header_(std::move(header)), geometry_(header_.geometry()) {}

Task<Result<void>> ImageWriter::begin() {
  const std::uint64_t header_end = std::min(storage_.size_bytes(), geometry_.cluster_size_bytes());
  if (header_end == 0) co_return Result<void>{};
  BYRE_CO_CHECK(co_await storage_.zero(0, header_end, false));
  [[maybe_unused]] const auto cut = co_await storage_.resize(header_end);  // a device keeps its length
  co_return Result<void>{};
}

Result<void> ImageWriter::check_references(std::uint64_t references) const {
  const std::uint64_t most = std::min<std::uint64_t>(format::max_refcount(geometry_.refcount_order),
                                                     std::numeric_limits<std::uint32_t>::max());
  if (references <= most) return {};
  return fail(ErrorCode::unsupported,
              "{}: a cluster would have {} references, but refcount_bits={} counts to {}: use wider refcounts",
              escape_untrusted(storage_.name()), references, geometry_.refcount_bits(), most);
}

Result<HostOffset> ImageWriter::place(std::uint64_t clusters, std::uint64_t references) {
  BYRE_CHECK(check_references(references));
  const std::uint64_t first = counts_.size();
  if (first + clusters > format::max_host_offset >> geometry_.cluster_bits) {
    return fail(ErrorCode::no_space, "{}: the image would be longer than {}, which no entry can point to",
                escape_untrusted(storage_.name()), human_size(format::max_host_offset));
  }
  counts_.resize(first + clusters, static_cast<std::uint32_t>(references));
  payload_end_bytes_ = 0;
  return geometry_.host_cluster(first);
}

Result<HostOffset> ImageWriter::place_payload(std::uint64_t payload_bytes, std::uint64_t references) {
  std::uint64_t begin = payload_end_bytes_;
  const bool goes_on = begin % geometry_.cluster_size_bytes() != 0;
  if (!goes_on || !check_references(counts_.back() + references)) {
    BYRE_TRY(const HostOffset at, place(1, references));
    begin = at.bytes;
  } else {
    counts_.back() += static_cast<std::uint32_t>(references);
  }
  const std::uint64_t end_cluster = ceil_div(begin + payload_bytes, geometry_.cluster_size_bytes());
  if (end_cluster > counts_.size()) BYRE_CHECK(place(end_cluster - counts_.size(), references));
  payload_end_bytes_ = begin + payload_bytes;
  return HostOffset(begin);
}

// In clusters of its own, the last one filled up with zeros.
Task<Result<HostOffset>> ImageWriter::store(ConstBytes bytes) {
  BYRE_CO_TRY(const HostOffset at, place(std::max<std::uint64_t>(geometry_.clusters_for(bytes.size()), 1), 1));
  const std::vector<std::byte> tail(counts_.size() * geometry_.cluster_size_bytes() - at.bytes - bytes.size());
  const ConstBytes parts[] = {bytes, tail};
  const std::span<const ConstBytes> all = parts;
  BYRE_CO_CHECK(co_await storage_.write(at.bytes, all));
  co_return at;
}

Task<Result<HostOffset>> ImageWriter::store_l1(const std::vector<std::uint64_t>& l1) {
  if (l1.size() > format::max_l1_entries) {
    co_return fail(
        ErrorCode::unsupported,
        "{}: the disk with its VM state needs an L1 table of {}, above the limit of {}; use a larger cluster_size",
        escape_untrusted(storage_.name()), human_size(l1.size() * 8), human_size(format::max_l1_bytes));
  }
  const std::vector<std::byte> bytes = encode_table(l1);
  co_return co_await store(bytes);
}

Task<Result<void>> ImageWriter::write_blocks(HostOffset at, std::uint64_t blocks) {
  const std::uint64_t per_block = geometry_.refcounts_per_block();
  const std::uint64_t blocks_at_once = std::max<std::uint64_t>(piece_bytes >> geometry_.cluster_bits, 1);
  for (std::uint64_t first = 0; first < blocks; first += blocks_at_once) {
    const std::uint64_t count = std::min(blocks_at_once, blocks - first);
    Buffer buffer(count << geometry_.cluster_bits, Buffer::Fill::zero);
    const std::uint64_t begin = first * per_block;
    const std::uint64_t end = std::min<std::uint64_t>(counts_.size(), begin + count * per_block);
    for (std::uint64_t cluster = begin; cluster < end; ++cluster) {
      format::store_refcount(buffer.data(), geometry_.refcount_order, cluster - begin, counts_[cluster]);
    }
    const ConstBytes bytes = buffer.bytes();
    BYRE_CO_CHECK(co_await write_bytes(storage_, at.bytes + (first << geometry_.cluster_bits), bytes));
  }
  co_return Result<void>{};
}

Task<Result<void>> ImageWriter::store_counts() {
  std::uint64_t blocks = 0;
  std::uint64_t table_clusters = 0;
  for (;;) {
    const std::uint64_t more_blocks =
        ceil_div(counts_.size() + blocks + table_clusters, geometry_.refcounts_per_block());
    const std::uint64_t more_table = ceil_div(more_blocks, geometry_.refcount_table_entries_per_cluster());
    if (more_blocks == blocks && more_table == table_clusters) break;
    blocks = more_blocks;
    table_clusters = more_table;
  }
  if (table_clusters << geometry_.cluster_bits > format::max_refcount_table_bytes) {
    co_return fail(
        ErrorCode::unsupported,
        "{}: the image needs a refcount table of {}, above the limit of {}; use a larger cluster_size or fewer "
        "refcount_bits",
        escape_untrusted(storage_.name()), human_size(table_clusters << geometry_.cluster_bits),
        human_size(format::max_refcount_table_bytes));
  }
  BYRE_CO_TRY(const HostOffset first_block, place(blocks, 1));
  std::vector<std::uint64_t> table(blocks);
  for (std::uint64_t i = 0; i < blocks; ++i) {
    table[i] = format::encode_refcount_table_entry(first_block + (i << geometry_.cluster_bits));
  }
  const std::vector<std::byte> bytes = encode_table(table);
  BYRE_CO_TRY(header_.refcount_table, co_await store(bytes));
  header_.refcount_table_clusters = static_cast<std::uint32_t>(table_clusters);
  BYRE_ASSERT(counts_.size() <= blocks * geometry_.refcounts_per_block());
  co_return co_await write_blocks(first_block, blocks);
}

Task<Result<void>> ImageWriter::write_header() {
  BYRE_CO_TRY(const std::vector<std::byte> header, format::encode_header(header_));
  BYRE_CO_CHECK(co_await storage_.flush());
  const ConstBytes bytes(header);
  BYRE_CO_CHECK(co_await write_bytes(storage_, 0, bytes));
  co_return co_await storage_.flush();
}

Task<Result<void>> ImageWriter::finish(Tables tables) {
  header_.virtual_size_bytes = tables.size_bytes;
  header_.l1_entries = static_cast<std::uint32_t>(tables.l1.size());
  header_.l1_table = {};
  if (!tables.l1.empty()) {
    BYRE_CO_TRY(header_.l1_table, co_await store_l1(tables.l1));
  }
  for (std::size_t i = 0; i < tables.snapshots.size(); ++i) {
    tables.snapshots[i].l1_entries = static_cast<std::uint32_t>(tables.snapshot_l1[i].size());
    BYRE_CO_TRY(tables.snapshots[i].l1_table, co_await store_l1(tables.snapshot_l1[i]));
  }
  header_.snapshot_count = static_cast<std::uint32_t>(tables.snapshots.size());
  header_.snapshot_table = {};
  if (!tables.snapshots.empty()) {
    BYRE_CO_TRY(const std::vector<std::byte> table, format::encode_snapshot_table(tables.snapshots, tables.size_bytes));
    BYRE_CO_TRY(header_.snapshot_table, co_await store(table));
  }
  BYRE_CO_CHECK(co_await store_counts());
  co_return co_await write_header();
}

}  // namespace byre
