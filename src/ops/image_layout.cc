// The trees are walked from the oldest snapshot to the disk: a cluster belongs to the generation in which it is first
// met. Then each cluster of the file is known, and the disk's own tree is walked once more for what lies where.
//
// Leaves out: the layers below.

#include "byre/ops/image_layout.h"

#include <algorithm>
#include <set>

#include "base/math.h"
#include "base/text.h"
#include "data/compact_roots.h"
#include "data/load.h"
#include "data/qcow2_disk.h"
#include "data/table_walk.h"

namespace byre {
namespace {

// What is known of a host cluster, or of several where the file is long; generations count up from first_generation.
constexpr std::uint16_t is_free = 0, is_table = 1, is_payload = 2, first_generation = 3;
constexpr std::uint16_t of_disk = 0x8000;  // the disk itself refers to it
constexpr std::uint64_t most_generations = 16;
constexpr std::uint64_t most_units = 16 << 20;

class Surveyor {
 public:
  Surveyor(Storage& storage, const format::Header& header, const std::vector<std::uint64_t>& l1, LayoutOptions options)
      : storage_(storage), header_(header), geometry_(header.geometry()), l1_(l1), options_(options) {}

  Task<Result<ImageLayout>> run(std::uint64_t size_bytes) {
    layout_.disk_size_bytes = size_bytes;
    layout_.file_size_bytes = storage_.size_bytes();
    layout_.backed = !header_.backing_name.empty();
    while ((layout_.file_size_bytes >> unit_bits_) >= most_units) ++unit_bits_;
    units_.assign((layout_.file_size_bytes >> unit_bits_) + 1, is_free);
    BYRE_CO_CHECK(co_await mark_tables());
    BYRE_CO_CHECK(co_await mark_snapshots());
    BYRE_CO_CHECK(co_await mark_tree(l1_, layout_.snapshots.size(), of_disk));
    fill_file();
    BYRE_CO_CHECK(co_await fill_disk());
    co_return std::move(layout_);
  }

 private:
  std::uint64_t generations() const { return std::min(layout_.snapshots.size() + 1, most_generations); }

  // Of what was there when that snapshot was taken, and not before; behind the last snapshot: of what is there now.
  std::uint64_t generation_at(std::uint64_t snapshot) const {
    return snapshot * generations() / (layout_.snapshots.size() + 1);
  }

  std::uint16_t known_of(std::uint64_t unit) const { return static_cast<std::uint16_t>(units_[unit] & (of_disk - 1)); }

  std::uint64_t generation_of(std::uint64_t unit) const {
    const std::uint16_t known = known_of(unit);
    return known < first_generation ? 0 : known - first_generation;
  }

  void mark(std::uint64_t first, std::uint64_t count, std::uint16_t what) {
    const std::uint64_t shift = unit_bits_ - geometry_.cluster_bits;
    for (std::uint64_t i = first >> shift; i <= (first + count - 1) >> shift && i < units_.size() && count > 0; ++i) {
      if (known_of(i) == is_free) units_[i] = what;
      if ((what & of_disk) != 0) units_[i] |= of_disk;
    }
  }

  Task<Result<void>> mark_tables() {
    mark(0, 1, is_table);
    BYRE_CO_TRY(const CompactRoots roots, co_await read_compact_roots(storage_, header_));
    for (const auto* regions : {&roots.l1_tables, &roots.others}) {
      for (const Region& region : *regions) mark(region.first, region.clusters, is_table);
    }
    for (const std::uint64_t table : roots.l1) mark(table >> geometry_.cluster_bits, 1, is_table);
    const std::uint64_t entries = header_.refcount_table_clusters * geometry_.refcount_table_entries_per_cluster();
    BYRE_CO_TRY(const std::vector<std::uint64_t> blocks,
                co_await read_table(storage_, header_.refcount_table, entries));
    for (const std::uint64_t block : blocks) {
      if (block != 0) mark(block >> geometry_.cluster_bits, 1, is_table);
    }
    co_return Result<void>{};
  }

  Task<Result<void>> mark_snapshots() {
    BYRE_CO_TRY(const std::vector<format::Snapshot> snapshots, co_await read_snapshots(storage_, header_));
    for (const format::Snapshot& snapshot : snapshots) layout_.snapshots.push_back(snapshot.name);
    for (std::size_t i = 0; i < snapshots.size(); ++i) {
      BYRE_CO_TRY(const std::vector<std::uint64_t> l1,
                  co_await read_table(storage_, snapshots[i].l1_table, snapshots[i].l1_entries));
      BYRE_CO_CHECK(co_await mark_tree(l1, i, 0));
    }
    co_return Result<void>{};
  }

  Task<Result<void>> mark_tree(const std::vector<std::uint64_t>& l1, std::uint64_t snapshot, std::uint16_t whose) {
    const auto data = static_cast<std::uint16_t>(first_generation + generation_at(snapshot));
    TableWalk walk(storage_, geometry_, l1);
    for (;;) {
      BYRE_CO_CHECK(co_await walk.next());
      if (walk.tables().empty()) co_return Result<void>{};
      for (const TableWalk::Table& table : walk.tables()) {
        for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
          BYRE_CO_TRY(const TableWalk::Reference reference, walk.reference(table, i));
          const std::uint16_t what = reference.own ? data : is_payload;
          mark(reference.clusters.first, reference.clusters.count, static_cast<std::uint16_t>(what | whose));
        }
      }
    }
  }

  LayoutCell empty_cell() const {
    LayoutCell cell;
    cell.data.assign(generations(), 0);
    cell.snapshots_only.assign(generations(), 0);
    return cell;
  }

  // Calls function(cell, bytes) for the cells that the range touches.
  template <class Function>
  void spread(std::vector<LayoutCell>& cells, std::uint64_t total, std::uint64_t begin, std::uint64_t end,
              Function function) {
    end = std::min(end, total);
    while (begin < end) {
      const auto index = static_cast<std::size_t>(static_cast<double>(begin) / static_cast<double>(total) *
                                                  static_cast<double>(cells.size()));
      const std::size_t cell = std::min(index, cells.size() - 1);
      const auto border = static_cast<std::uint64_t>(static_cast<double>(total) * static_cast<double>(cell + 1) /
                                                     static_cast<double>(cells.size()));
      const std::uint64_t stop = std::min(end, std::max(border, begin + 1));
      function(cells[cell], stop - begin);
      begin = stop;
    }
  }

  void fill_file() {
    const std::uint64_t clusters = geometry_.clusters_for(layout_.file_size_bytes);
    layout_.file.assign(std::min(options_.cells, std::max<std::uint64_t>(1, clusters)), empty_cell());
    for (std::uint64_t unit = 0; unit < units_.size(); ++unit) {
      const std::uint16_t known = known_of(unit);
      const bool is_of_disk = (units_[unit] & of_disk) != 0;
      const std::uint64_t begin = unit << unit_bits_;
      const std::uint64_t end = begin + (std::uint64_t{1} << unit_bits_);
      spread(layout_.file, layout_.file_size_bytes, begin, end, [&](LayoutCell& cell, std::uint64_t bytes) {
        if (known == is_free) {
          cell.nothing += bytes;
        } else if (known == is_table) {
          cell.tables += bytes;
        } else if (known == is_payload) {
          cell.compressed += bytes;
        } else {
          (is_of_disk ? cell.data : cell.snapshots_only)[generation_of(unit)] += bytes;
        }
      });
    }
  }

  Task<Result<void>> fill_disk() {
    const std::uint64_t clusters = geometry_.clusters_for(layout_.disk_size_bytes);
    layout_.disk.assign(std::min<std::uint64_t>(options_.cells, std::max<std::uint64_t>(1, clusters)), empty_cell());
    TableWalk walk(storage_, geometry_, l1_);
    std::uint64_t at = 0;  // everything before it is told
    for (;;) {
      BYRE_CO_CHECK(co_await walk.next());
      if (walk.tables().empty()) break;
      for (const TableWalk::Table& table : walk.tables()) {
        const std::uint64_t begin = geometry_.guest_offset(table.l1_index, 0).bytes;
        add_nothing(at, begin);
        for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
          BYRE_CO_TRY(const format::L2Entry entry, walk.entry(table, i));
          add_entry(geometry_.guest_offset(table.l1_index, i).bytes, entry);
        }
        at = begin + geometry_.guest_bytes_per_l2();
      }
    }
    add_nothing(at, layout_.disk_size_bytes);
    for (const auto& [disk, file, generation] : dots_) layout_.dots.push_back({disk, file, generation});
    co_return Result<void>{};
  }

  void add_nothing(std::uint64_t begin, std::uint64_t end) {
    spread(layout_.disk, layout_.disk_size_bytes, begin, end,
           [](LayoutCell& cell, std::uint64_t bytes) { cell.nothing += bytes; });
  }

  void add_entry(std::uint64_t guest, const format::L2Entry& entry) {
    const std::uint64_t host = entry.kind == format::ClusterKind::normal ? entry.host.bytes : 0;
    const std::uint64_t generation = generation_of(host >> unit_bits_);
    const std::uint64_t end = guest + geometry_.cluster_size_bytes();
    spread(layout_.disk, layout_.disk_size_bytes, guest, end, [&](LayoutCell& cell, std::uint64_t bytes) {
      switch (entry.kind) {
        case format::ClusterKind::unallocated: cell.nothing += bytes; break;
        case format::ClusterKind::zero_plain:
        case format::ClusterKind::zero_allocated: cell.zeros += bytes; break;
        case format::ClusterKind::compressed: cell.compressed += bytes; break;
        case format::ClusterKind::normal: cell.data[generation] += bytes; break;
      }
    });
    if (host == 0 || guest >= layout_.disk_size_bytes) return;
    dots_.insert({on_grid(guest, layout_.disk_size_bytes), on_grid(host, layout_.file_size_bytes), generation});
  }

  std::uint64_t on_grid(std::uint64_t at, std::uint64_t total) const {
    return static_cast<std::uint64_t>(static_cast<double>(at) / static_cast<double>(total) *
                                      static_cast<double>(options_.dots));
  }

  Storage& storage_;
  const format::Header& header_;
  const format::Geometry geometry_;
  const std::vector<std::uint64_t>& l1_;
  const LayoutOptions options_;
  std::vector<std::uint16_t> units_;  // of the file: a cluster, or several in a long file
  unsigned unit_bits_ = geometry_.cluster_bits;
  std::set<std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>> dots_;
  ImageLayout layout_;
};

}  // namespace

Task<Result<ImageLayout>> image_layout(Disk& disk, LayoutOptions options) {
  const std::string& file = disk.storage().name();
  auto* image = dynamic_cast<Qcow2Disk*>(&disk);
  if (!image) {
    co_return fail_in(file, ErrorCode::unsupported, "a {} disk lies in its file as it is: there is nothing to draw",
                      disk.format());
  }
  if (image->header().geometry().extended_l2 || image->header().has_data_file()) {
    co_return fail_in(file, ErrorCode::unsupported,
                      "images with extended L2 entries or a data file cannot be drawn yet");
  }
  options.cells = std::clamp<std::uint64_t>(options.cells, 1, 1'000'000);
  options.dots = std::clamp<std::uint64_t>(options.dots, 1, 10'000);
  Surveyor surveyor(image->storage(), image->header(), image->l1(), options);
  auto layout = co_await surveyor.run(disk.size_bytes());
  if (!layout) co_return std::unexpected(std::move(layout).error().in_file(file));
  co_return layout;
}

}  // namespace byre
