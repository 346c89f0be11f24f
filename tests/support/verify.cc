#include "support/verify.h"

#include <fmt/format.h>

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

constexpr const char* compressed_extent = "compressed extent";

class Verifier {
 public:
  Verifier(ConstBytes image, Counts counts) : image_(image), counts_(counts) {}

  Verdict run() {
    const auto header = format::decode_header(image_.first(std::min<std::size_t>(image_.size(), 2 << 20)),
                                              image_.size(), format::HeaderUse::read);
    if (!header) {
      error("header: {}", header.error().message());
      return std::move(verdict_);
    }
    header_ = *header;
    geometry_ = header_.geometry();
    verdict_.dirty = header_.is_dirty();
    judge_counts_ = counts_ == Counts::judged || !verdict_.dirty;
    references_.assign(geometry_.clusters_for(image_.size()), 0);
    owners_.assign(references_.size(), {});
    load_counts();
    reference(HostOffset(0), 1, "header");
    reference(header_.refcount_table, header_.refcount_table_clusters << geometry_.cluster_bits, "refcount table");
    walk_l1(header_.l1_table, header_.l1_entries, true);
    walk_snapshots();
    verdict_.unreferenced = static_cast<std::uint64_t>(std::ranges::count(references_, std::uint64_t{0}));
    if (judge_counts_) compare();
    return std::move(verdict_);
  }

 private:
  template <class... Args>
  void error(fmt::format_string<Args...> pattern, Args&&... args) {
    if (verdict_.errors.size() < 20) verdict_.errors.push_back(fmt::format(pattern, std::forward<Args>(args)...));
  }

  void leak(std::uint64_t cluster, std::uint64_t count, std::uint64_t references) {
    ++verdict_.leaks;
    if (verdict_.leak_notes.size() < 8) {
      verdict_.leak_notes.push_back(
          fmt::format("leak: cluster {} refcount {} references {}", cluster, count, references));
    }
  }

  bool inside(HostOffset at, std::uint64_t length) const {
    return fits_within(at.bytes, length, references_.size() << geometry_.cluster_bits);
  }

  bool reference(HostOffset at, std::uint64_t length_bytes, const char* what) {
    if (!inside(at, length_bytes)) {
      error("{} at {:#x} reaches behind the end of the file (I-17)", what, at.bytes);
      return false;
    }
    const std::uint64_t first = geometry_.cluster_index(at);
    const std::uint64_t last = geometry_.cluster_index(at + (length_bytes - 1));
    for (std::uint64_t cluster = first; cluster <= last; ++cluster) {
      ++references_[cluster];
      own(cluster, what);
    }
    return true;
  }

  // True whatever the counts say: one kind of owner for each cluster (I-14), and within one tree one reference, but for
  // compressed extents, which share.
  void own(std::uint64_t cluster, const std::string_view what) {
    Owner& owner = owners_[cluster];
    const bool is_first = owner.what.empty();
    if (!is_first && owner.what != what) error("host cluster {} is {} and {} (I-14)", cluster, owner.what, what);
    if (!is_first && owner.tree == tree_ && what != compressed_extent) {
      verdict_.aliases.push_back(fmt::format("host cluster {} is a {} twice (I-16)", cluster, what));
    }
    owner = {what, tree_};
  }

  // Bytes behind the end of the file, in its last cluster, are zeros.
  std::uint64_t word(std::uint64_t at) const {
    if (at + 8 <= image_.size()) return load_be64(image_.data() + at);
    std::byte bytes[8] = {};
    for (std::uint64_t i = 0; at + i < image_.size(); ++i) bytes[i] = image_[at + i];
    return load_be64(bytes);
  }

  void load_counts() {
    const std::uint64_t entries = header_.refcount_table_clusters * geometry_.refcount_table_entries_per_cluster();
    blocks_.assign(entries, 0);
    for (std::uint64_t i = 0; i < entries; ++i) {
      const auto block = format::decode_refcount_table_entry(geometry_, word(header_.refcount_table.bytes + i * 8));
      if (!block) {
        error("refcount table entry {}: {}", i, format::describe(block.error()));
      } else if (block->bytes != 0 && reference(*block, geometry_.cluster_size_bytes(), "refcount block")) {
        blocks_[i] = block->bytes;
      }
    }
  }

  std::uint64_t count_of(std::uint64_t cluster) const {
    const std::uint64_t index = geometry_.refcount_table_index(cluster);
    if (index >= blocks_.size() || blocks_[index] == 0) return 0;
    return stored(blocks_[index], geometry_.refcount_block_index(cluster));
  }

  std::uint64_t stored(std::uint64_t block, std::uint64_t index) const {
    // A block may end with the file.
    if (block + geometry_.cluster_size_bytes() <= image_.size()) {
      return format::load_refcount(image_.data() + block, geometry_.refcount_order, index);
    }
    std::vector<std::byte> padded(geometry_.cluster_size_bytes());
    std::copy(image_.begin() + static_cast<std::ptrdiff_t>(block), image_.end(), padded.begin());
    return format::load_refcount(padded.data(), geometry_.refcount_order, index);
  }

  void walk_l1(HostOffset table, std::uint64_t entries, bool active) {
    if (entries == 0) return;
    ++tree_;
    if (!reference(table, entries * 8, "L1 table")) return;
    for (std::uint64_t i = 0; i < entries; ++i) {
      const std::uint64_t raw = word(table.bytes + i * 8);
      if (raw == 0) continue;
      const auto entry = format::decode_l1_entry(geometry_, raw);
      if (!entry) {
        error("L1 entry {} {:#x}: {}", i, raw, format::describe(entry.error()));
        continue;
      }
      if (!reference(entry->l2_table, geometry_.cluster_size_bytes(), "L2 table")) continue;
      check_copied(active, entry->copied, entry->l2_table, "L1", i);
      walk_l2(entry->l2_table, i, active);
    }
  }

  void check_copied(bool active, bool copied, HostOffset at, const char* what, std::uint64_t index) {
    if (!active || !judge_counts_) return;
    const std::uint64_t count = count_of(geometry_.cluster_index(at));
    // A leak of a shared cluster leaves COPIED clear with a count of 1 only if the flag was never set again: legal.
    if (copied && count != 1) error("{} entry {}: COPIED with refcount {} (I-24)", what, index, count);
    if (!copied && count == 1) ++verdict_.leaks;
  }

  void walk_l2(HostOffset table, std::uint64_t l1_index, bool active) {
    for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
      std::byte raw[16] = {};
      const std::uint64_t at = table.bytes + i * geometry_.l2_entry_bytes();
      store_be64(raw, word(at));
      if (geometry_.extended_l2) store_be64(raw + 8, word(at + 8));
      const std::uint64_t guest = geometry_.guest_offset(l1_index, i).bytes;
      const auto entry = format::decode_l2_entry(geometry_, raw);
      if (!entry) {
        error("L2 entry of guest {:#x}: {}", guest, format::describe(entry.error()));
      } else if (entry->kind == ClusterKind::compressed) {
        reference(entry->compressed.offset, entry->compressed.length_bytes, compressed_extent);
        ++verdict_.payloads;
      } else if (entry->has_host_cluster()) {
        if (!reference(entry->host, geometry_.cluster_size_bytes(), "data cluster")) continue;
        check_copied(active, entry->copied, entry->host, "L2 of guest", guest);
      }
    }
  }

  void walk_snapshots() {
    if (header_.snapshot_count == 0) return;
    const auto table = image_.subspan(std::min<std::uint64_t>(header_.snapshot_table.bytes, image_.size()));
    const auto snapshots = format::decode_snapshot_table(table, header_.snapshot_count);
    if (!snapshots) {
      error("snapshot table: {}", snapshots.error().message());
      return;
    }
    reference(header_.snapshot_table, format::stored_snapshot_table_bytes(*snapshots), "snapshot table");
    for (const auto& snapshot : *snapshots) walk_l1(snapshot.l1_table, snapshot.l1_entries, false);
  }

  void compare() {
    const std::uint64_t per_block = geometry_.refcounts_per_block();
    for (std::uint64_t cluster = 0; cluster < references_.size(); ++cluster) {
      const std::uint64_t count = count_of(cluster);
      if (count < references_[cluster]) {
        error("host cluster {}: refcount {}, {} references (I-23)", cluster, count, references_[cluster]);
      }
      if (count > references_[cluster]) leak(cluster, count, references_[cluster]);
    }
    for (std::uint64_t i = references_.size() / per_block; i < blocks_.size(); ++i) {
      if (blocks_[i] == 0) continue;
      const std::uint64_t first = std::max<std::uint64_t>(references_.size(), i * per_block);
      for (std::uint64_t cluster = first; cluster < (i + 1) * per_block; ++cluster) {
        if (count_of(cluster) > 0) leak(cluster, count_of(cluster), 0);
      }
    }
  }

  ConstBytes image_;
  Counts counts_;
  bool judge_counts_ = true;
  format::Header header_;
  format::Geometry geometry_;
  std::vector<std::uint64_t> blocks_;
  std::vector<std::uint64_t> references_;
  struct Owner {
    std::string_view what;
    unsigned tree = 0;
  };
  std::vector<Owner> owners_;
  unsigned tree_ = 0;  // the L1 table whose tree is walked
  Verdict verdict_;
};

}  // namespace

std::string Verdict::text() const {
  return fmt::format("{} leaks, {} errors: {}; {}; {}", leaks, errors.size() + aliases.size(), fmt::join(errors, "; "),
                     fmt::join(aliases, "; "), fmt::join(leak_notes, "; "));
}

Verdict verify(ConstBytes image, Counts counts) { return Verifier(image, counts).run(); }

}  // namespace byre::test
