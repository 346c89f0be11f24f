// Each block is compared with the references of its range, 32 counts at a time where all of them are alike. What has
// references in a range without a block has a stored count of 0. Counts above 0 behind the end of the file are leaks.

#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "check/checker.h"
#include "format/refcount.h"

namespace byre::check {
namespace {

constexpr std::uint64_t counts_at_once = 32;
constexpr std::size_t most_bad_counts_in_detail = 1 << 16;

}  // namespace

// 32 counts of that value; empty if they are too narrow for it.
ConstBytes Checker::pattern_of(std::uint64_t count) {
  if (count > format::max_refcount(geometry_.refcount_order)) return {};
  if (patterns_.size() <= count) patterns_.resize(count + 1);
  std::vector<std::byte>& pattern = patterns_[count];
  if (pattern.empty()) {
    pattern.resize(counts_at_once * geometry_.refcount_bits() / 8);
    for (std::uint64_t i = 0; i < counts_at_once; ++i) {
      format::store_refcount(pattern.data(), geometry_.refcount_order, i, count);
    }
  }
  return pattern;
}

Task<Result<void>> Checker::read_blocks() {
  std::vector<BlockUse> by_cluster = blocks_;
  std::ranges::sort(by_cluster, {}, &BlockUse::cluster);
  std::vector<std::uint64_t> clusters;
  for (const BlockUse& block : by_cluster) {
    if (clusters.empty() || clusters.back() != block.cluster) clusters.push_back(block.cluster);
  }
  TableReader reader(storage_, geometry_.cluster_bits);
  std::size_t next = 0;
  const auto take = [this, &by_cluster, &clusters, &next](std::size_t i, ConstBytes bytes) {
    for (; next < by_cluster.size() && by_cluster[next].cluster == clusters[i]; ++next) {
      compare_block(by_cluster[next], bytes);
    }
  };
  BYRE_CO_CHECK(co_await reader.read_each(clusters, take));
  compare_uncounted();
  co_return Result<void>{};
}

void Checker::compare_block(const BlockUse& block, ConstBytes bytes) {
  const std::uint64_t base = block.table_index << geometry_.refcount_block_bits();
  for (std::uint64_t i = 0; i < geometry_.refcounts_per_block(); i += counts_at_once) {
    const std::byte* counts = bytes.data() + (i << geometry_.refcount_order) / 8;
    if (const auto uniform = references_.uniform_32(base + i)) {
      const ConstBytes pattern = pattern_of(*uniform);
      if (!pattern.empty() && std::memcmp(counts, pattern.data(), pattern.size()) == 0) continue;
    }
    for (std::uint64_t j = i; j < i + counts_at_once; ++j) {
      compare_one(base + j, format::load_refcount(bytes.data(), geometry_.refcount_order, j));
    }
  }
}

void Checker::compare_one(std::uint64_t cluster, std::uint64_t stored) {
  const std::uint64_t references = references_.count(cluster);
  if (stored > 0) end_cluster_ = std::max(end_cluster_, cluster + 1);
  if (references_.contradicts(cluster, stored)) suspects_.emplace(cluster, stored);
  if (stored == references) return;
  counts_wrong_ = true;
  if (stored > references) return report_leak(cluster, stored, references);
  counts_missing_ |= stored == 0;
  bad_counts_.push_back({cluster, stored, references, std::nullopt, 0});
  if (bad_counts_.size() > most_bad_counts_in_detail) report_bad_counts();
}

// Ranges whose counts no block holds.
void Checker::compare_uncounted() {
  std::vector<bool> has_block(image_.refcount_table.size());
  for (const BlockUse& block : blocks_) has_block[block.table_index] = true;
  for (auto cluster = references_.next_referenced(0); cluster;) {
    const std::uint64_t index = geometry_.refcount_table_index(*cluster);
    const bool counted = index < has_block.size() && has_block[index];
    if (!counted) compare_one(*cluster, 0);
    cluster = references_.next_referenced(counted ? (index + 1) << geometry_.refcount_block_bits() : *cluster + 1);
  }
}

void Checker::report_leak(std::uint64_t cluster, std::uint64_t stored, std::uint64_t references) {
  Finding finding;
  finding.kind = FindingClass::leak;
  finding.being_repaired = repair_ != Repair::none && !incomplete();
  finding.text = fmt::format("{} cluster {} refcount={} reference={}", finding.being_repaired ? "Repairing" : "Leaked",
                             cluster, stored, references);
  finding.meaning = "Host space is wasted; no data is at risk.";
  finding.host_offset_bytes = cluster << geometry_.cluster_bits;
  findings_.report(finding);
}

// With the owners that were found meanwhile.
void Checker::report_bad_counts() {
  const std::uint64_t maximum = format::max_refcount(geometry_.refcount_order);
  for (const BadCount& bad : bad_counts_) {
    Finding finding;
    finding.being_repaired = repairs_counts() && bad.references <= maximum;
    finding.text = fmt::format("{} cluster {} refcount={} reference={}", finding.being_repaired ? "Repairing" : "ERROR",
                               bad.cluster, bad.stored, bad.references);
    if (bad.references > maximum) {
      finding.meaning =
          fmt::format("{}-bit refcounts cannot count that far: widen them first.", geometry_.refcount_bits());
    } else {
      finding.meaning = bad.stored == 0 ? "It counts as free: the next write may overwrite what is there."
                                        : "A write to one of its users would change the data of the others.";
    }
    finding.host_offset_bytes = bad.cluster << geometry_.cluster_bits;
    finding.guest_offset_bytes = bad.guest;
    finding.snapshot = snapshot_id(bad.snapshot);
    findings_.report(finding);
  }
  bad_counts_.clear();
}

}  // namespace byre::check
