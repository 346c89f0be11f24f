// The order of a repair, each stage durable before the next:
//
//   1  counts that are too low are raised; new blocks, a new refcount table and a new snapshot table are written, all
//      in clusters that nothing refers to
//   2  the table's entries, or the header's pointer to a table that moved
//   3  mapping entries; COPIED flags that go; the header's pointer to a new snapshot table; the bitmaps bit
//   4  counts that are too high are lowered
//   5  COPIED flags that come (O-14)
//
// After a crash in between, every count is at least what it must be wherever the old structure allowed it before, and
// nothing that anything refers to was overwritten: a new check finds what is left, and another repair does it.

#include "check/repair.h"

#include <algorithm>

#include "base/text.h"
#include "check/count_plan.h"
#include "check/stage.h"
#include "format/refcount.h"

namespace byre::check {
namespace {

class Repairer {
 public:
  Repairer(Storage& storage, Checker& checker, Repair repair, UndoLog& undo)
      : storage_(storage),
        checker_(checker),
        repair_(repair),
        image_(checker.image()),
        geometry_(image_.geometry),
        references_(checker.references()),
        undo_(undo),
        stage_(storage, undo) {}

  Task<Result<void>> run() {
    if (repair_ != Repair::leaks) {
      BYRE_CO_TRY(const std::vector<std::byte> snapshots, snapshot_table());
      BYRE_CO_TRY(plan_, plan_counts(checker_, snapshots.size()));
      BYRE_CO_CHECK(co_await undo_.begin());
      BYRE_CO_CHECK(co_await reserve_space());
      BYRE_CO_CHECK(co_await write_new(snapshots));
      BYRE_CO_CHECK(co_await switch_table());
      BYRE_CO_CHECK(co_await write_entries());
    } else {
      plan_.kept = checker_.blocks();
      BYRE_CO_CHECK(co_await undo_.begin());
    }
    if (!checker_.incomplete()) BYRE_CO_CHECK(co_await rewrite_blocks(false));
    BYRE_CO_CHECK(co_await write_flags(true));
    co_return Result<void>{};
  }

 private:
  Result<std::vector<std::byte>> snapshot_table() const {
    std::vector<format::Snapshot> kept;
    for (const CheckedSnapshot& snapshot : image_.snapshots) {
      if (!snapshot.dropped) kept.push_back(snapshot.entry);
    }
    if (!image_.snapshot_table_must_change || kept.empty()) return std::vector<std::byte>();
    return format::encode_snapshot_table(kept, image_.header.virtual_size_bytes);
  }

  // Grows the file and fills its holes first: nothing else can run out of space then.
  Task<Result<void>> reserve_space() {
    const std::uint64_t cluster = geometry_.cluster_size_bytes();
    Result<void> reserved;
    for (const std::uint64_t reused : plan_.reused) {
      if (reserved) reserved = co_await storage_.allocate(reused << geometry_.cluster_bits, cluster);
    }
    const std::uint64_t old_end = image_.file_clusters << geometry_.cluster_bits;
    const std::uint64_t added = (plan_.file_clusters - image_.file_clusters) << geometry_.cluster_bits;
    if (reserved && added > 0) reserved = co_await storage_.allocate(old_end, added);
    if (reserved || reserved.error().code() == ErrorCode::unsupported) co_return Result<void>{};
    if (storage_.size_bytes() != image_.file_size_bytes) {
      [[maybe_unused]] const auto back = co_await storage_.resize(image_.file_size_bytes);
    }
    co_return std::unexpected(std::move(reserved).error().with_context("nothing was changed: the repair needs space"));
  }

  std::uint64_t wanted(std::uint64_t cluster) const {
    return std::min(references_.count(cluster), format::max_refcount(geometry_.refcount_order));
  }

  Task<Result<void>> write_new(const std::vector<std::byte>& snapshots) {
    if (!snapshots.empty()) stage_.put(plan_.snapshot_table_at, snapshots);
    std::vector<std::byte> bytes(geometry_.cluster_size_bytes());
    for (const BlockUse& block : plan_.added) {
      const std::uint64_t base = block.table_index << geometry_.refcount_block_bits();
      for (std::uint64_t i = 0; i < geometry_.refcounts_per_block(); ++i) {
        format::store_refcount(bytes.data(), geometry_.refcount_order, i, wanted(base + i));
      }
      stage_.put(geometry_.host_cluster(block.cluster), bytes);
      BYRE_CO_CHECK(co_await stage_.relieve());
    }
    if (plan_.table_moves) put_table();
    co_return co_await rewrite_blocks(true);
  }

  void put_table() {
    std::vector<std::byte> bytes(plan_.table.size() * 8);
    for (std::size_t i = 0; i < plan_.table.size(); ++i) store_be64(bytes.data() + i * 8, plan_.table[i]);
    stage_.put(plan_.table_at, bytes);
  }

  // Blocks that stay: only raises counts, or makes them exactly right.
  Task<Result<void>> rewrite_blocks(bool only_raise) {
    std::ranges::sort(plan_.kept, {}, &BlockUse::cluster);
    std::vector<std::uint64_t> clusters;
    constexpr std::size_t at_once = 64;
    TableReader reader(storage_, geometry_.cluster_bits);
    for (std::size_t begin = 0; begin < plan_.kept.size(); begin += at_once) {
      clusters.clear();
      for (std::size_t i = begin; i < std::min(begin + at_once, plan_.kept.size()); ++i) {
        clusters.push_back(plan_.kept[i].cluster);
      }
      const auto take = [this, begin, only_raise](std::size_t i, ConstBytes bytes) {
        rewrite_block(plan_.kept[begin + i], bytes, only_raise);
      };
      BYRE_CO_CHECK(co_await reader.read_each(clusters, take));
      BYRE_CO_CHECK(co_await stage_.relieve());
    }
    co_return co_await stage_.commit();
  }

  // Puts the sectors that change.
  void rewrite_block(const BlockUse& block, ConstBytes old, bool only_raise) {
    constexpr std::size_t sector = 512;
    std::vector<std::byte> bytes(old.begin(), old.end());
    const std::uint64_t base = block.table_index << geometry_.refcount_block_bits();
    for (std::uint64_t i = 0; i < geometry_.refcounts_per_block(); ++i) {
      const std::uint64_t stored = format::load_refcount(old.data(), geometry_.refcount_order, i);
      const std::uint64_t count = wanted(base + i);
      const bool changes = only_raise ? stored < count : repair_ == Repair::leaks ? stored > count : stored != count;
      if (changes) format::store_refcount(bytes.data(), geometry_.refcount_order, i, count);
    }
    const ConstBytes changed(bytes);
    for (std::size_t at = 0; at < bytes.size(); at += sector) {
      if (std::ranges::equal(changed.subspan(at, sector), old.subspan(at, sector))) continue;
      stage_.put(geometry_.host_cluster(block.cluster) + at, changed.subspan(at, sector));
    }
  }

  Task<Result<void>> switch_table() {
    if (plan_.table_moves) {
      std::byte pointer[12];
      store_be64(pointer, plan_.table_at.bytes);
      store_be32(pointer + 8, static_cast<std::uint32_t>(plan_.table.size() * 8 >> geometry_.cluster_bits));
      stage_.put(HostOffset(format::header_field::refcount_table), pointer);
    } else {
      for (std::size_t i = 0; i < plan_.table.size(); ++i) {
        if (i < image_.refcount_table.size() && plan_.table[i] == image_.refcount_table[i]) continue;
        std::byte entry[8];
        store_be64(entry, plan_.table[i]);
        stage_.put(plan_.table_at + i * 8, entry);
      }
    }
    co_return co_await stage_.commit();
  }

  Task<Result<void>> write_entries() {
    put_flags(false);
    for (const Patch& patch : checker_.patches()) stage_.put(patch.at, ConstBytes(patch.bytes).first(patch.length));
    if (image_.snapshot_table_must_change) {
      std::uint32_t count = 0;
      for (const CheckedSnapshot& snapshot : image_.snapshots) count += snapshot.dropped ? 0 : 1;
      std::byte pointer[12];
      store_be32(pointer, count);
      store_be64(pointer + 4, plan_.snapshot_table_at.bytes);
      stage_.put(HostOffset(format::header_field::snapshots), pointer);
    }
    if (image_.bitmaps_must_go) {
      std::byte bits[8];
      store_be64(bits, image_.header.autoclear_features & ~format::autoclear::bitmaps);
      stage_.put(HostOffset(format::header_field::autoclear_features), bits);
    }
    co_return co_await stage_.commit();
  }

  void put_flags(bool coming) {
    for (const FlagPatch& patch : checker_.flag_patches()) {
      if (((patch.word & format::entry_copied_flag) != 0) != coming) continue;
      std::byte word[8];
      store_be64(word, patch.word);
      stage_.put(patch.at, word);
    }
  }

  Task<Result<void>> write_flags(bool coming) {
    if (repair_ == Repair::leaks) put_flags(false);
    put_flags(coming);
    co_return co_await stage_.commit();
  }

  Storage& storage_;
  Checker& checker_;
  const Repair repair_;
  const Image& image_;
  const format::Geometry& geometry_;
  ReferenceMap& references_;
  UndoLog& undo_;
  Stage stage_;
  CountPlan plan_;
};

}  // namespace

bool needs_repair(const Checker& checker, Repair repair) {
  const bool flags = !checker.flag_patches().empty();
  const bool counts = checker.counts_wrong();
  if (repair == Repair::leaks) return counts || flags;
  const bool entries =
      !checker.patches().empty() || checker.image().snapshot_table_must_change || checker.image().bitmaps_must_go;
  return counts || flags || entries || checker.structure_wrong();
}

Task<Result<void>> repair_image(Storage& storage, Checker& checker, Repair repair, UndoLog& undo) {
  Repairer repairer(storage, checker, repair, undo);
  co_return co_await repairer.run();
}

Task<Result<void>> clear_bits(Storage& storage, const Image& image, UndoLog& undo) {
  BYRE_CO_CHECK(co_await undo.begin());
  Stage stage(storage, undo);
  std::byte bits[8];
  store_be64(bits, image.header.incompatible_features & ~(format::incompatible::dirty | format::incompatible::corrupt));
  stage.put(HostOffset(format::header_field::incompatible_features), bits);
  co_return co_await stage.commit();
}

}  // namespace byre::check
