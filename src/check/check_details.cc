// A second walk over the mapping, made only if a count is wrong or contradicts a COPIED flag: it finds the guest
// offsets that belong to wrong counts, and the entries whose flag is wrong (I-24). Which clusters it looks for is
// known.

#include <algorithm>

#include "base/text.h"
#include "check/checker.h"

namespace byre::check {

Task<Result<void>> Checker::read_details() {
  std::ranges::sort(bad_counts_, {}, &BadCount::cluster);
  if (bad_counts_.empty() && suspects_.empty()) co_return Result<void>{};
  detail_l1(image_.header.l1_table, active_l1_, 0);
  for (std::uint32_t i = 0; i < image_.snapshots.size(); ++i) {
    const format::Snapshot& entry = image_.snapshots[i].entry;
    if (!image_.snapshots[i].fault.empty() || bad_counts_.empty()) continue;
    BYRE_CO_TRY(const auto words, co_await read_words(storage_, entry.l1_table, entry.l1_entries));
    detail_l1(entry.l1_table, words, i + 1);
  }
  std::vector<std::uint64_t> clusters(tables_.size());
  std::ranges::transform(tables_, clusters.begin(), &L2Table::cluster);
  TableReader reader(storage_, geometry_.cluster_bits);
  co_return co_await reader.read_each(clusters,
                                      [this](std::size_t i, ConstBytes bytes) { detail_l2(tables_[i], bytes); });
}

void Checker::detail_l1(HostOffset table, const std::vector<std::uint64_t>& words, std::uint32_t snapshot) {
  for (std::uint64_t i = 0; i < words.size(); ++i) {
    if (words[i] == 0) continue;
    const JudgedL1 judged = judge_l1_entry(image_, words[i]);
    if (judged.l2_table.bytes == 0) continue;
    const std::uint64_t cluster = geometry_.cluster_index(judged.l2_table);
    note_owner(cluster, geometry_.guest_offset(i, 0), snapshot);
    if (snapshot == 0 && judged.fault.empty()) {
      check_flag(table + i * 8, words[i], cluster, geometry_.guest_offset(i, 0), "L1 entry");
    }
  }
}

void Checker::detail_l2(const L2Table& table, ConstBytes bytes) {
  for (std::uint64_t i = 0; i < geometry_.l2_entries(); ++i) {
    const std::byte* raw = bytes.data() + i * geometry_.l2_entry_bytes();
    const std::uint64_t word = load_be64(raw);
    if (word == 0 || geometry_.external_data_file) continue;
    const GuestOffset guest = guest_of(table, i);
    const JudgedL2 judged = judge_l2_entry(image_, raw, guest);
    const format::L2Entry& entry = judged.entry;
    if (entry.kind == format::ClusterKind::compressed) {
      const std::uint64_t last = geometry_.cluster_index(entry.compressed.offset + (entry.compressed.length_bytes - 1));
      for (std::uint64_t cluster = geometry_.cluster_index(entry.compressed.offset); cluster <= last; ++cluster) {
        note_owner(cluster, guest, table.snapshot);
      }
    } else if (entry.has_host_cluster()) {
      const std::uint64_t cluster = geometry_.cluster_index(entry.host);
      note_owner(cluster, guest, table.snapshot);
      if (table.active_uses > 0 && judged.fault.empty()) {
        check_flag(entry_at(table, i), word, cluster, guest, "L2 entry");
      }
    }
  }
}

void Checker::note_owner(std::uint64_t cluster, GuestOffset guest, std::uint32_t snapshot) {
  const auto bad = std::ranges::lower_bound(bad_counts_, cluster, {}, &BadCount::cluster);
  if (bad == bad_counts_.end() || bad->cluster != cluster || bad->guest) return;
  bad->guest = guest.bytes;
  bad->snapshot = snapshot;
}

// The flag is judged by the stored count, and repaired to what the count will be.
void Checker::check_flag(HostOffset at, std::uint64_t word, std::uint64_t cluster, GuestOffset guest,
                         std::string_view what) {
  const auto suspect = suspects_.find(cluster);
  if (suspect == suspects_.end()) return;
  const bool copied = (word & format::entry_copied_flag) != 0;
  const bool should = references_.count(cluster) == 1;
  const bool repairs = repair_ == Repair::leaks ? findings_.corruptions() == flag_findings_ && bad_counts_.empty()
                                                : repair_ != Repair::none;
  if (copied != should && repairs) {
    flag_patches_.push_back({at, word ^ format::entry_copied_flag});
  }
  if (copied == (suspect->second == 1)) return;
  report_flag(at, word, guest,
              fmt::format("ERROR {} {:#x}: COPIED is {}, but the refcount of host cluster {} is {}", what, word,
                          copied ? "set" : "clear", cluster, suspect->second),
              repairs);
}

void Checker::report_flag(HostOffset at, std::uint64_t word, GuestOffset guest, std::string text, bool repairs) {
  ++flag_findings_;
  Finding finding;
  finding.text = std::move(text);
  finding.only_slower = (word & format::entry_copied_flag) == 0;
  finding.meaning = !finding.only_slower ? "A write would change the data of others, a snapshot for instance, in place."
                                         : "A write copies the cluster without need.";
  finding.host_offset_bytes = at.bytes;
  finding.guest_offset_bytes = guest.bytes;
  finding.being_repaired = repairs;
  findings_.report(finding);
}

}  // namespace byre::check
