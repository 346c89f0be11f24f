// L1 tables first: they tell which L2 tables there are and how often each is named, so that each is read once however
// many snapshots share it, and its entries count as often as it is named (R-CNT 6). Runs of plain clusters are taken at
// once; whatever is not plain, or meets a cluster that is already referred to, goes the careful way.

#include <algorithm>
#include <cstring>

#include "base/endian.h"
#include "base/math.h"
#include "base/text.h"
#include "check/checker.h"

namespace byre::check {

using format::ClusterKind;

Task<Result<void>> Checker::read_l1_tables() {
  BYRE_CO_TRY(active_l1_, co_await read_words(storage_, image_.header.l1_table, image_.header.l1_entries));
  for (std::uint64_t i = 0; i < active_l1_.size(); ++i) take_l1_entry(image_.header.l1_table, i, active_l1_[i], 0);
  for (std::uint32_t i = 0; i < image_.snapshots.size(); ++i) {
    const CheckedSnapshot& snapshot = image_.snapshots[i];
    if (snapshot.fault.empty()) {
      BYRE_CO_CHECK(co_await read_l1_table(snapshot.entry.l1_table, snapshot.entry.l1_entries, i + 1));
    }
  }
  table_index_.clear();
  std::ranges::sort(tables_, {}, &L2Table::cluster);
  co_return Result<void>{};
}

Task<Result<void>> Checker::read_l1_table(HostOffset at, std::uint64_t entries, std::uint32_t snapshot) {
  BYRE_CO_TRY(const std::vector<std::uint64_t> words, co_await read_words(storage_, at, entries));
  for (std::uint64_t i = 0; i < words.size(); ++i) take_l1_entry(at, i, words[i], snapshot);
  co_return Result<void>{};
}

void Checker::take_l1_entry(HostOffset table, std::uint64_t index, std::uint64_t raw, std::uint32_t snapshot) {
  if (raw == 0) return;
  JudgedL1 judged = judge_l1_entry(image_, raw);
  if (judged.fault.empty() && judged.l2_table.bytes != 0 && !may_be_l2_table(judged.l2_table)) {
    judged.fault = fmt::format("the {} lies there", owner_name(*owner_at(geometry_.cluster_index(judged.l2_table))));
    judged.meaning = "The data of this range cannot be found any more.";
    judged.replacement = Replacement{0, 0, true};
    if (changes_entries()) judged.l2_table = {};
  }
  const bool changes = changes_entries() && judged.replacement.has_value();
  if (!judged.fault.empty()) {
    Finding finding;
    finding.text = fmt::format("ERROR L1 entry {} is {:#x}: {}", index, raw, judged.fault);
    finding.meaning = judged.meaning;
    finding.host_offset_bytes = table.bytes + index * 8;
    finding.guest_offset_bytes = geometry_.guest_offset(index, 0).bytes;
    finding.length_bytes = geometry_.guest_bytes_per_l2();
    finding.snapshot = snapshot_id(snapshot);
    finding.being_repaired = changes;
    findings_.report(finding);
    if (!changes && judged.l2_table.bytes == 0) incomplete_ = true;
  }
  if (changes) {
    add_patch(table + index * 8, *judged.replacement, 8);
    if (judged.replacement->lost) {
      add_lost(geometry_.guest_offset(index, 0).bytes, geometry_.guest_bytes_per_l2(), snapshot);
    }
  }
  if (judged.l2_table.bytes != 0) use_l2_table(judged.l2_table, index, snapshot);
}

// What is named as an L2 table and as part of the refcount structure may be either, but counts can be computed anew.
bool Checker::may_be_l2_table(HostOffset at) const {
  const auto owner = owner_at(geometry_.cluster_index(at));
  return !owner || holds_counts(*owner);
}

void Checker::use_l2_table(HostOffset at, std::uint64_t index, std::uint32_t snapshot) {
  const std::uint64_t cluster = geometry_.cluster_index(at);
  const auto [found, added] = table_index_.try_emplace(cluster, tables_.size());
  if (added) {
    L2Table table;
    table.cluster = cluster;
    table.l1_index = static_cast<std::uint32_t>(index);
    table.snapshot = snapshot;
    tables_.push_back(table);
  }
  L2Table& table = tables_[found->second];
  ++(snapshot == 0 ? table.active_uses : table.other_uses);
}

void Checker::claim_l2_tables() {
  for (std::uint64_t& entry : active_l1_) {
    if (entry == 0) continue;
    const JudgedL1 judged = judge_l1_entry(image_, entry);
    const std::uint64_t cluster = geometry_.cluster_index(judged.l2_table);
    const auto table = std::ranges::lower_bound(tables_, cluster, {}, &L2Table::cluster);
    if (judged.l2_table.bytes == 0 || table == tables_.end() || table->cluster != cluster) {
      entry = 0;  // not followed: the passes to come need not judge it again
      continue;
    }
    references_.add(cluster, 1, judged.copied ? Claim::copied : Claim::shared);
  }
  for (const L2Table& table : tables_) {
    if (table.other_uses > 0) references_.add(table.cluster, table.other_uses, Claim::none);
  }
}

Task<Result<void>> Checker::read_l2_tables() {
  std::vector<std::uint64_t> clusters(tables_.size());
  std::ranges::transform(tables_, clusters.begin(), &L2Table::cluster);
  TableReader reader(storage_, geometry_.cluster_bits);
  const auto take = [this, &clusters](std::size_t i, ConstBytes bytes) {
    take_l2_table(tables_[i], bytes);
    if (options_.on_progress && i % 64 == 0) options_.on_progress(i, clusters.size());
  };
  co_return co_await reader.read_each(clusters, take);
}

void Checker::take_l2_table(L2Table& table, ConstBytes bytes) {
  const bool plain_entries = !geometry_.extended_l2 && !geometry_.external_data_file;
  const std::uint64_t entry_bytes = geometry_.l2_entry_bytes();
  const std::uint64_t not_plain = ~format::entry_offset_mask | geometry_.cluster_mask();
  for (std::uint64_t i = 0; i < geometry_.l2_entries();) {
    const std::byte* raw = bytes.data() + i * entry_bytes;
    const std::uint64_t word = load_be64(raw);
    if (plain_entries) {
      const std::uint64_t offset = word & ~format::entry_copied_flag;
      if (word == 0) {
        ++i;
        continue;
      }
      if (offset != 0 && (offset & not_plain) == 0 &&
          image_.inside(HostOffset(offset), geometry_.cluster_size_bytes())) {
        i += take_plain_run(table, bytes, i, word);
        continue;
      }
    }
    take_l2_entry(table, i++, raw);
  }
}

// Entries from `index` on whose clusters follow one another.
std::uint64_t Checker::take_plain_run(L2Table& table, ConstBytes bytes, std::uint64_t index, std::uint64_t word) {
  const bool copied = (word & format::entry_copied_flag) != 0;
  const std::uint64_t first = geometry_.cluster_index(HostOffset(word & format::entry_offset_mask));
  const std::uint64_t most = std::min(geometry_.l2_entries() - index, image_.file_clusters - first);
  const std::byte* at = bytes.data() + index * 8;
  std::uint64_t count = 1;
  for (std::uint64_t next = word; count < most; ++count) {
    next += geometry_.cluster_size_bytes();
    if (load_be64(at + count * 8) != next) break;
  }
  if (!references_.any(first, count)) [[likely]] {
    references_.add_run(first, count, table.active_uses + table.other_uses, claim_of(table, copied));
    count_plain(table, first, count);
    return count;
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    if (take_host(table, index + i, first + i, copied)) count_plain(table, first + i, 1);
  }
  return count;
}

void Checker::take_l2_entry(L2Table& table, std::uint64_t index, const std::byte* raw) {
  const JudgedL2 judged = judge_l2_entry(image_, raw, guest_of(table, index));
  if (!judged.fault.empty()) report_entry(table, index, raw, judged);
  const format::L2Entry& entry = judged.entry;
  if (entry.kind == ClusterKind::compressed) {
    if (!take_extent(table, index, entry.compressed)) return;
    compressed_count_ += table.active_uses;
    allocated_ += table.active_uses;
    fragmented_ += table.active_uses;
  } else if (entry.has_host_cluster()) {
    const std::uint64_t cluster = geometry_.cluster_index(entry.host);
    if (geometry_.external_data_file) {
      if (!entry.copied && judged.fault.empty()) report_uncopied(table, index, load_be64(raw));
      count_plain(table, cluster, 1);
    } else if (take_host(table, index, cluster, entry.copied)) {
      count_plain(table, cluster, 1);
    }
  }
}

// I-24: clusters of an external data file always carry COPIED.
void Checker::report_uncopied(const L2Table& table, std::uint64_t index, std::uint64_t word) {
  if (repair_ != Repair::none) flag_patches_.push_back({entry_at(table, index), word | format::entry_copied_flag});
  report_flag(entry_at(table, index), word, guest_of(table, index),
              fmt::format("ERROR L2 entry {:#x}: COPIED is clear in an image with an external data file", word),
              repair_ != Repair::none);
}

// False if the entry is given up.
bool Checker::take_host(const L2Table& table, std::uint64_t index, std::uint64_t cluster, bool copied) {
  if (references_.any(cluster, 1)) {
    const auto owner = owner_at(cluster);
    if ((owner || compressed_.any(cluster, 1)) && conflict(table, index, cluster, owner)) return false;
  }
  references_.add(cluster, table.active_uses + table.other_uses, claim_of(table, copied));
  return true;
}

bool Checker::take_extent(const L2Table& table, std::uint64_t index, const format::CompressedExtent& extent) {
  const std::uint64_t first = geometry_.cluster_index(extent.offset);
  const std::uint64_t last = geometry_.cluster_index(extent.offset + (extent.length_bytes - 1));
  for (std::uint64_t cluster = first; cluster <= last; ++cluster) {
    if (!references_.any(cluster, 1) || compressed_.any(cluster, 1)) continue;
    if (conflict(table, index, cluster, owner_at(cluster))) return false;
  }
  for (std::uint64_t cluster = first; cluster <= last; ++cluster) {
    references_.add(cluster, table.active_uses + table.other_uses, Claim::none);
    if (!compressed_.any(cluster, 1)) compressed_.add(cluster, 1, Claim::none);
  }
  return true;
}

// Two claim a cluster. True if the entry is given up: it is wrong where metadata lies, but for refcount blocks, of
// which it is not known who is right, and which can be built anew elsewhere.
bool Checker::conflict(const L2Table& table, std::uint64_t index, std::uint64_t cluster, std::optional<Owner> owner) {
  const bool counts = owner && holds_counts(*owner);
  const bool dropped = owner && !counts && changes_entries();
  structure_wrong_ |= counts;
  Finding finding;
  finding.text =
      fmt::format("ERROR guest offset {:#x} is mapped to host cluster {}, where the {} lies",
                  guest_of(table, index).bytes, cluster, owner ? owner_name(*owner) : "data of another range");
  finding.meaning = owner ? "What the guest reads there is not its data; a write there would damage the image."
                          : "A compressed and a plain cluster share host space: one of them is not what it was.";
  finding.host_offset_bytes = cluster << geometry_.cluster_bits;
  finding.guest_offset_bytes = guest_of(table, index).bytes;
  finding.snapshot = snapshot_id(table.snapshot);
  finding.being_repaired = dropped || (counts && repairs_counts());
  findings_.report(finding);
  if (dropped) give_up(table, index);
  return dropped;
}

void Checker::give_up(const L2Table& table, std::uint64_t index) {
  add_patch(entry_at(table, index), Replacement{0, 0, true}, geometry_.l2_entry_bytes());
  add_lost(guest_of(table, index).bytes, geometry_.cluster_size_bytes(), table.snapshot);
}

// `clusters` of the table's entries lie one behind the other (docs/format.md 20.5). Tables are counted each on its own.
void Checker::count_plain(L2Table& table, std::uint64_t first_cluster, std::uint64_t clusters) {
  if (table.active_uses == 0) return;
  const std::uint64_t host = first_cluster << geometry_.cluster_bits;
  allocated_ += clusters * table.active_uses;
  if (table.next_host != 0 && table.next_host != host) fragmented_ += table.active_uses;
  table.next_host = host + (clusters << geometry_.cluster_bits);
}

void Checker::report_entry(const L2Table& table, std::uint64_t index, const std::byte* raw, const JudgedL2& judged) {
  const bool changes = changes_entries() && judged.replacement.has_value();
  Finding finding;
  finding.text = fmt::format("ERROR L2 entry {} of the table at {:#x} is {:#x}: {}", index,
                             table.cluster << geometry_.cluster_bits, load_be64(raw), judged.fault);
  finding.meaning = judged.meaning;
  finding.host_offset_bytes = entry_at(table, index).bytes;
  finding.guest_offset_bytes = guest_of(table, index).bytes;
  finding.snapshot = snapshot_id(table.snapshot);
  finding.being_repaired = changes;
  findings_.report(finding);
  if (!changes) return;
  add_patch(entry_at(table, index), *judged.replacement, geometry_.l2_entry_bytes());
  if (judged.replacement->lost) {
    add_lost(guest_of(table, index).bytes, geometry_.cluster_size_bytes(), table.snapshot);
  }
}

GuestOffset Checker::guest_of(const L2Table& table, std::uint64_t index) const {
  return geometry_.guest_offset(table.l1_index, index);
}

HostOffset Checker::entry_at(const L2Table& table, std::uint64_t index) const {
  return geometry_.host_cluster(table.cluster) + index * geometry_.l2_entry_bytes();
}

Claim Checker::claim_of(const L2Table& table, bool copied) const {
  if (table.active_uses == 0) return Claim::none;
  return copied ? Claim::copied : Claim::shared;
}

}  // namespace byre::check
