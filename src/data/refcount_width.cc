// Two walks over the old blocks. The first finds out which clusters have counts, so which new blocks are needed, and
// whether each count fits; the second fills the new blocks. The new structure lies behind everything that is counted or
// stored, so it needs no count in the old one: until the header names it, it is nothing but a longer file.

#include "data/refcount_width.h"

#include <algorithm>
#include <map>

#include "base/endian.h"
#include "base/math.h"
#include "base/text.h"
#include "byre/base/buffer.h"
#include "data/batch_io.h"
#include "format/entry.h"
#include "format/limits.h"
#include "format/refcount.h"

namespace byre {
namespace {

class Rewriter {
 public:
  Rewriter(Storage& storage, const format::Geometry& geometry, HostOffset table_at,
           const std::vector<std::uint64_t>& table, unsigned order)
      : storage_(storage), old_(geometry), new_(geometry), table_at_(table_at), table_(table) {
    new_.refcount_order = order;
  }

  Task<Result<NewRefcounts>> run() {
    BYRE_CO_CHECK(find_old_structure());
    first_free_ = old_.clusters_for(storage_.size_bytes());
    for (std::uint64_t index = 0; index < table_.size(); ++index) BYRE_CO_CHECK(co_await look_at(index));
    BYRE_CO_CHECK(place());
    for (const auto& [index, cluster] : blocks_) BYRE_CO_CHECK(co_await write_block(index, cluster));
    BYRE_CO_CHECK(co_await write_table());
    NewRefcounts result;
    result.table = new_.host_cluster(table_first_);
    result.table_clusters = static_cast<std::uint32_t>(table_clusters_);
    result.old_clusters = old_structure_;
    co_return result;
  }

 private:
  Result<void> find_old_structure() {
    ClusterRuns runs;
    runs.add(old_.cluster_index(table_at_), old_.clusters_for(table_.size() * 8));
    for (std::uint64_t index = 0; index < table_.size(); ++index) {
      const auto block = format::decode_refcount_table_entry(old_, table_[index]);
      if (!block) {
        return fail(ErrorCode::corrupt, "refcount table entry {}: {}", index, format::describe(block.error()));
      }
      if (block->bytes != 0) runs.add(old_.cluster_index(*block), 1);
    }
    old_structure_ = runs.take_sorted();
    return {};
  }

  // The old block `index`, cached: several new blocks may need the same. Null: it counts nothing.
  Task<Result<const std::byte*>> old_block(std::uint64_t index) {
    if (index >= table_.size() || table_[index] == 0) co_return nullptr;
    if (cached_ == index) co_return buffer_.data();
    if (buffer_.empty()) buffer_ = Buffer(old_.cluster_size_bytes());
    cached_ = ~std::uint64_t{0};
    const Bytes target = buffer_.bytes();
    BYRE_CO_CHECK(co_await read_zero_filled(storage_, table_[index], target));
    cached_ = index;
    co_return buffer_.data();
  }

  Task<Result<void>> look_at(std::uint64_t index) {
    BYRE_CO_TRY(const std::byte* const block, co_await old_block(index));
    if (!block) co_return Result<void>{};
    const std::uint64_t most = format::max_refcount(new_.refcount_order);
    for (std::uint64_t i = 0; i < old_.refcounts_per_block(); ++i) {
      const std::uint64_t count = format::load_refcount(block, old_.refcount_order, i);
      if (count == 0) continue;
      const std::uint64_t cluster = index * old_.refcounts_per_block() + i;
      if (count > most) {
        co_return fail(ErrorCode::unsupported,
                       "host cluster {} has refcount {}, which does not fit into {} bits: at most {}", cluster, count,
                       new_.refcount_bits(), most);
      }
      blocks_.emplace(new_.refcount_table_index(cluster), 0);
      first_free_ = std::max(first_free_, cluster + 1);
    }
    co_return Result<void>{};
  }

  // Blocks in the order of what they count, then the table; each needs a count, which may need a block.
  Result<void> place() {
    for (;;) {
      const std::uint64_t before = blocks_.size();
      const std::uint64_t clusters = before + table_size();
      for (std::uint64_t i = 0; i < clusters; ++i) blocks_.emplace(new_.refcount_table_index(first_free_ + i), 0);
      if (blocks_.size() == before && table_size() + before == clusters) break;
    }
    std::uint64_t next = first_free_;
    for (auto& [index, cluster] : blocks_) cluster = next++;
    table_first_ = next;
    table_clusters_ = table_size();
    const std::uint64_t end = new_.host_cluster(table_first_ + table_clusters_).bytes;
    if (table_clusters_ * new_.cluster_size_bytes() <= format::max_refcount_table_bytes &&
        end <= format::max_host_offset) {
      return {};
    }
    return fail(ErrorCode::no_space, "refcounts of {} bits would need a table of {} clusters at the end of the file",
                new_.refcount_bits(), table_clusters_);
  }

  std::uint64_t table_size() const {
    const std::uint64_t entries = blocks_.empty() ? 1 : blocks_.rbegin()->first + 1;
    return ceil_div(entries, new_.refcount_table_entries_per_cluster());
  }

  Task<Result<void>> write_block(std::uint64_t index, std::uint64_t cluster) {
    Buffer block(new_.cluster_size_bytes(), Buffer::Fill::zero);
    const std::uint64_t begin = index * new_.refcounts_per_block();
    const std::uint64_t end = begin + new_.refcounts_per_block();
    for (std::uint64_t at = begin; at < end;) {
      const std::uint64_t old_index = old_.refcount_table_index(at);
      const std::uint64_t stop = std::min(end, (old_index + 1) * old_.refcounts_per_block());
      BYRE_CO_TRY(const std::byte* const counts, co_await old_block(old_index));
      for (std::uint64_t i = at; counts && i < stop; ++i) {
        const std::uint64_t count = format::load_refcount(counts, old_.refcount_order, old_.refcount_block_index(i));
        if (count != 0) format::store_refcount(block.data(), new_.refcount_order, i - begin, count);
      }
      at = stop;
    }
    for (const ClusterRun& run : old_structure_) set(block, begin, end, run.first, run.end(), 0);
    set(block, begin, end, first_free_, table_first_ + table_clusters_, 1);
    const ConstBytes bytes = block.bytes();
    co_return co_await write_bytes(storage_, new_.host_cluster(cluster).bytes, bytes);
  }

  // The counts of [first, last), as far as the block that counts [begin, end) has them.
  void set(Buffer& block, std::uint64_t begin, std::uint64_t end, std::uint64_t first, std::uint64_t last,
           std::uint64_t count) const {
    for (std::uint64_t i = std::max(begin, first); i < std::min(end, last); ++i) {
      format::store_refcount(block.data(), new_.refcount_order, i - begin, count);
    }
  }

  Task<Result<void>> write_table() {
    Buffer table(table_clusters_ * new_.cluster_size_bytes(), Buffer::Fill::zero);
    for (const auto& [index, cluster] : blocks_) {
      store_be64(table.data() + index * 8, format::encode_refcount_table_entry(new_.host_cluster(cluster)));
    }
    const ConstBytes bytes = table.bytes();
    co_return co_await write_bytes(storage_, new_.host_cluster(table_first_).bytes, bytes);
  }

  Storage& storage_;
  const format::Geometry old_;
  format::Geometry new_;
  const HostOffset table_at_;
  const std::vector<std::uint64_t>& table_;
  std::vector<ClusterRun> old_structure_;
  std::map<std::uint64_t, std::uint64_t> blocks_;  // by table index: the cluster
  std::uint64_t first_free_ = 0;                   // cluster behind everything, where the new structure begins
  std::uint64_t table_first_ = 0, table_clusters_ = 0;
  Buffer buffer_;
  std::uint64_t cached_ = ~std::uint64_t{0};
};

}  // namespace

Task<Result<NewRefcounts>> write_refcounts(Storage& storage, const format::Geometry& geometry, HostOffset table_at,
                                           const std::vector<std::uint64_t>& table, unsigned order) {
  Rewriter rewriter(storage, geometry, table_at, table, order);
  co_return co_await rewriter.run();
}

}  // namespace byre
