// While the disk is written only a bit for each of its clusters is kept. Every table follows from these bits, and all
// are written at the end, in the order of the file; those that would hold zeros alone are left out.
//
// Leaves out: compressed clusters, whose places cannot follow from their offsets; refcount blocks without a count,
// which would be there if the image was full.

#include "ops/stable_image.h"

#include <algorithm>
#include <utility>

#include "base/endian.h"
#include "base/math.h"
#include "base/text.h"
#include "byre/base/assert.h"
#include "data/image_writer.h"
#include "format/entry.h"
#include "format/refcount.h"

namespace byre::ops {
namespace {

constexpr std::uint64_t data_unit_bytes = 4 << 20;  // no cluster is larger

}  // namespace

// The refcount structures have room for the longest gap that there may be behind the tables.
Layout plan_stable_layout(const format::Geometry& geometry, std::uint64_t virtual_size_bytes) {
  const std::uint64_t unit = data_unit_bytes >> geometry.cluster_bits;
  Layout layout = plan_layout(geometry, virtual_size_bytes, LayoutScope::full_disk, unit - 1);
  layout.extra = 0;
  const std::uint64_t tables = layout.metadata_clusters();
  layout.extra = round_up(tables, unit) - tables;
  return layout;
}

StableImageDisk::StableImageDisk(Storage& storage, format::Header header)
    : WriteOnlyDisk(storage, header.geometry(), header.virtual_size_bytes),
      header_(std::move(header)),
      layout_(plan_stable_layout(geometry(), header_.virtual_size_bytes)),
      used_blocks_(layout_.refcount_blocks) {
  BYRE_ASSERT(check_layout(layout_));
}

Task<Result<void>> StableImageDisk::begin() { return erase_image(storage(), geometry().cluster_size_bytes()); }

void StableImageDisk::use(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  const std::uint64_t end = offset_bytes + length_bytes;
  for (GuestOffset at(offset_bytes); at.bytes < end; at += geometry().cluster_size_bytes()) {
    std::vector<bool>& clusters = used_[geometry().l1_index(at)];
    clusters.resize(geometry().l2_entries());
    clusters[geometry().l2_index(at)] = true;
  }
}

Task<Result<void>> StableImageDisk::write(std::uint64_t offset_bytes, ConstBytes data) {
  BYRE_CO_CHECK(check_clusters(offset_bytes, data.size()));
  use(offset_bytes, data.size());
  co_return co_await write_filled_up(storage(), host_of(offset_bytes).bytes, data, geometry().cluster_size_bytes());
}

// The file was empty: what no piece covers reads as zeros.
Task<Result<void>> StableImageDisk::clone(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                          std::span<const ClonePiece> pieces) {
  BYRE_CO_CHECK(check_clusters(offset_bytes, length_bytes));
  use(offset_bytes, length_bytes);
  for (const ClonePiece& piece : pieces) {
    const HostOffset at = host_of(piece.offset_bytes);
    BYRE_CO_CHECK(co_await storage().clone(at.bytes, *piece.source, piece.source_offset_bytes, piece.length_bytes));
  }
  co_return Result<void>{};
}

Task<Result<void>> StableImageDisk::write_words(HostOffset at, const std::vector<std::uint64_t>& words,
                                                std::uint64_t clusters) {
  if (clusters == 0) co_return Result<void>{};
  Buffer buffer(layout_.bytes_of(clusters), Buffer::Fill::zero);
  for (std::size_t i = 0; i < words.size(); ++i) store_be64(buffer.data() + i * 8, words[i]);
  const ConstBytes bytes = buffer.bytes();
  co_return co_await write_bytes(storage(), at.bytes, bytes);
}

Task<Result<void>> StableImageDisk::write_l1_and_l2_tables() {
  std::vector<std::uint64_t> l1(layout_.l1_entries);
  for (const auto& [l1_index, clusters] : used_) {
    const HostOffset at = layout_.l2_start() + layout_.bytes_of(l1_index);
    l1[l1_index] = format::encode_l1_entry({at, true});
    std::vector<std::uint64_t> words(geometry().l2_entries());
    for (std::uint64_t i = 0; i < words.size(); ++i) {
      if (!clusters[i]) continue;
      const HostOffset host = host_of(geometry().guest_offset(l1_index, i).bytes);
      words[i] = format::encode_l2_word(geometry(), format::L2Entry::normal(host, true));
    }
    BYRE_CO_CHECK(co_await write_words(at, words, 1));
  }
  co_return co_await write_words(layout_.l1_start(), l1, layout_.l1_table);
}

// The blocks that count these clusters, and those that count the blocks.
void StableImageDisk::use_blocks(HostOffset first, std::uint64_t clusters) {
  if (clusters == 0) return;
  const std::uint64_t last = geometry().refcount_table_index(first + layout_.bytes_of(clusters - 1));
  for (std::uint64_t block = geometry().refcount_table_index(first); block <= last; ++block) {
    if (used_blocks_[block]) continue;
    used_blocks_[block] = true;
    use_blocks(layout_.refcount_blocks_start() + layout_.bytes_of(block), 1);
  }
}

void StableImageDisk::use_blocks_of_all() {
  use_blocks(HostOffset(0), 1 + layout_.refcount_table);
  use_blocks(layout_.l1_start(), layout_.l1_table);
  for (const auto& [l1_index, clusters] : used_) {
    use_blocks(layout_.l2_start() + layout_.bytes_of(l1_index), 1);
    for (std::uint64_t i = 0; i < clusters.size(); ++i) {
      if (clusters[i]) use_blocks(host_of(geometry().guest_offset(l1_index, i).bytes), 1);
    }
  }
}

// The parts of the layout from the last one to the first.
bool StableImageDisk::is_used(std::uint64_t host_cluster) const {
  const HostOffset at = geometry().host_cluster(host_cluster);
  if (at >= layout_.data_start()) {
    const GuestOffset guest(at - layout_.data_start());
    const auto clusters = used_.find(geometry().l1_index(guest));
    return clusters != used_.end() && clusters->second[geometry().l2_index(guest)];
  }
  if (at >= layout_.l2_start()) return used_.contains(host_cluster - geometry().cluster_index(layout_.l2_start()));
  if (at >= layout_.l1_start()) return true;
  if (at < layout_.refcount_blocks_start()) return true;
  return used_blocks_[host_cluster - geometry().cluster_index(layout_.refcount_blocks_start())];
}

Task<Result<void>> StableImageDisk::write_refcounts() {
  use_blocks_of_all();
  std::vector<std::uint64_t> table(layout_.refcount_blocks);
  for (std::uint64_t block = 0; block < table.size(); ++block) {
    if (!used_blocks_[block]) continue;
    const HostOffset at = layout_.refcount_blocks_start() + layout_.bytes_of(block);
    table[block] = format::encode_refcount_table_entry(at);
    Buffer counts(geometry().cluster_size_bytes(), Buffer::Fill::zero);
    for (std::uint64_t i = 0; i < geometry().refcounts_per_block(); ++i) {
      if (!is_used(block * geometry().refcounts_per_block() + i)) continue;
      format::store_refcount(counts.data(), geometry().refcount_order, i, 1);
    }
    const ConstBytes bytes = counts.bytes();
    BYRE_CO_CHECK(co_await write_bytes(storage(), at.bytes, bytes));
  }
  co_return co_await write_words(layout_.refcount_table_start(), table, layout_.refcount_table);
}

// Behind the last cluster of the disk that is used.
HostOffset StableImageDisk::data_end() const {
  if (used_.empty()) return HostOffset(0);
  const auto& [l1_index, clusters] = *used_.rbegin();
  const auto behind = static_cast<std::uint64_t>(clusters.rend() - std::find(clusters.rbegin(), clusters.rend(), true));
  return host_of(geometry().guest_offset(l1_index, 0).bytes) + layout_.bytes_of(behind);
}

// What was cloned last may end inside its cluster.
Task<Result<void>> StableImageDisk::close() {
  BYRE_CO_CHECK(co_await write_l1_and_l2_tables());
  BYRE_CO_CHECK(co_await write_refcounts());
  if (storage().size_bytes() < data_end().bytes) BYRE_CO_CHECK(co_await storage().resize(data_end().bytes));
  header_.refcount_table = layout_.refcount_table_start();
  header_.refcount_table_clusters = static_cast<std::uint32_t>(layout_.refcount_table);
  header_.l1_entries = static_cast<std::uint32_t>(layout_.l1_entries);
  header_.l1_table = layout_.l1_entries > 0 ? layout_.l1_start() : HostOffset(0);
  co_return co_await write_header_last(storage(), header_);
}

}  // namespace byre::ops
