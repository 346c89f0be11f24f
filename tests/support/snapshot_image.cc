#include "support/snapshot_image.h"

#include <algorithm>

#include "base/endian.h"
#include "base/math.h"
#include "format/entry.h"
#include "format/header.h"
#include "format/refcount.h"
#include "format/snapshot_table.h"

namespace byre::test {
namespace {

using format::ClusterKind;

class Snapshotter {
 public:
  explicit Snapshotter(std::vector<std::byte> image) : image_(std::move(image)) {}

  bool run(const std::string& id) {
    const auto header = format::decode_header(ConstBytes(image_).first(std::min<std::size_t>(image_.size(), 2 << 20)),
                                              image_.size(), format::HeaderUse::read);
    if (!header || header->snapshot_count != 0) return false;
    header_ = *header;
    geometry_ = header_.geometry();
    image_.resize(round_up(image_.size(), geometry_.cluster_size_bytes()));
    const std::uint64_t l1_bytes = std::uint64_t{header_.l1_entries} * 8;
    const std::uint64_t l1_copy = append(l1_bytes);
    std::copy_n(image_.begin() + static_cast<std::ptrdiff_t>(header_.l1_table.bytes), l1_bytes,
                image_.begin() + static_cast<std::ptrdiff_t>(l1_copy));
    if (!share_l1()) return false;
    return write_table(id, l1_copy);
  }

  std::vector<std::byte> take() { return std::move(image_); }

 private:
  std::uint64_t append(std::uint64_t length_bytes) {
    const std::uint64_t at = image_.size();
    image_.resize(at + round_up(std::max<std::uint64_t>(length_bytes, 1), geometry_.cluster_size_bytes()));
    return at;
  }

  bool count(HostOffset at, std::uint64_t add) {
    const std::uint64_t cluster = geometry_.cluster_index(at);
    const std::uint64_t index = geometry_.refcount_table_index(cluster);
    if (index >= header_.refcount_table_clusters * geometry_.refcount_table_entries_per_cluster()) return false;
    const std::uint64_t block = load_be64(image_.data() + header_.refcount_table.bytes + index * 8);
    if (block == 0) return false;
    std::byte* counts = image_.data() + block;
    const std::uint64_t slot = geometry_.refcount_block_index(cluster);
    const std::uint64_t old = format::load_refcount(counts, geometry_.refcount_order, slot);
    if (old + add > format::max_refcount(geometry_.refcount_order)) return false;
    format::store_refcount(counts, geometry_.refcount_order, slot, old + add);
    return true;
  }

  bool share_l1() {
    for (std::uint64_t i = 0; i < header_.l1_entries; ++i) {
      std::byte* raw = image_.data() + header_.l1_table.bytes + i * 8;
      const auto entry = format::decode_l1_entry(geometry_, load_be64(raw));
      if (!entry) return false;
      if (entry->l2_table.bytes == 0) continue;
      if (!count(entry->l2_table, 1) || !share_l2(entry->l2_table)) return false;
      store_be64(raw, format::encode_l1_entry({entry->l2_table, false}));
    }
    return true;
  }

  bool share_l2(HostOffset table) {
    for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
      std::byte* raw = image_.data() + table.bytes + i * geometry_.l2_entry_bytes();
      auto entry = format::decode_l2_entry(geometry_, raw);
      if (!entry) return false;
      const bool compressed = entry->kind == ClusterKind::compressed;
      if (!compressed && !entry->has_host_cluster()) continue;
      const HostOffset from = compressed ? entry->compressed.offset : entry->host;
      const std::uint64_t length = compressed ? entry->compressed.length_bytes : geometry_.cluster_size_bytes();
      for (std::uint64_t c = geometry_.cluster_index(from); c <= geometry_.cluster_index(from + (length - 1)); ++c) {
        if (!count(geometry_.host_cluster(c), 1)) return false;
      }
      entry->copied = false;
      if (!compressed) format::encode_l2_entry(geometry_, *entry, raw);
    }
    return true;
  }

  bool write_table(const std::string& id, std::uint64_t l1_copy) {
    format::Snapshot snapshot;
    snapshot.l1_table = HostOffset(l1_copy);
    snapshot.l1_entries = header_.l1_entries;
    snapshot.id = id;
    snapshot.name = "snapshot " + id;
    snapshot.disk_size_bytes = header_.virtual_size_bytes;
    const auto table = format::encode_snapshot_table({snapshot}, header_.virtual_size_bytes);
    if (!table) return false;
    const std::uint64_t at = append(table->size());
    std::ranges::copy(*table, image_.begin() + static_cast<std::ptrdiff_t>(at));
    for (std::uint64_t c = l1_copy; c < image_.size(); c += geometry_.cluster_size_bytes()) {
      if (!count(HostOffset(c), 1)) return false;
    }
    store_be32(image_.data() + format::header_field::snapshots, 1);
    store_be64(image_.data() + format::header_field::snapshots + 4, at);
    return true;
  }

  std::vector<std::byte> image_;
  format::Header header_;
  format::Geometry geometry_;
};

}  // namespace

bool add_snapshot(std::vector<std::byte>& image, const std::string& id) {
  Snapshotter snapshotter(image);
  if (!snapshotter.run(id)) return false;
  image = snapshotter.take();
  return true;
}

}  // namespace byre::test
