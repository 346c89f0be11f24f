// The order of a pass, and metadata: whose clusters they are, and whether two owners claim one.

#include "check/checker.h"

#include <algorithm>

#include "base/math.h"
#include "base/text.h"

namespace byre::check {

Checker::Checker(Storage& storage, const CheckOptions& options, Repair repair, Findings& findings)
    : storage_(storage), options_(options), repair_(repair), findings_(findings) {}

Task<Result<void>> Checker::run() {
  BYRE_CO_TRY(image_, co_await read_image(storage_, repair_, findings_));
  geometry_ = image_.geometry;
  for (const CheckedSnapshot& snapshot : image_.snapshots) incomplete_ |= !snapshot.fault.empty() && !snapshot.dropped;
  structure_wrong_ = !image_.refcount_table_usable;
  list_blocks();
  for (const Region& region : image_.regions) own(region.at, region.length_bytes, region.owner);
  for (const BlockUse& block : blocks_) owned_.push_back({block.cluster, Owner::refcount_block});
  std::ranges::sort(owned_);
  BYRE_CO_CHECK(co_await read_l1_tables());
  add_metadata();
  BYRE_CO_CHECK(co_await read_l2_tables());
  BYRE_CO_CHECK(co_await read_blocks());
  BYRE_CO_CHECK(co_await read_details());
  report_bad_counts();
  if (options_.data) BYRE_CO_CHECK(co_await read_payloads());
  co_return Result<void>{};
}

void Checker::list_blocks() {
  for (std::uint64_t index = 0; index < image_.refcount_table.size(); ++index) {
    const std::uint64_t raw = image_.refcount_table[index];
    if (raw == 0) continue;
    const auto block = format::decode_refcount_table_entry(geometry_, raw);
    if (!block) {
      report_block(index, raw, format::describe(block.error()));
    } else if (!image_.inside(*block, geometry_.cluster_size_bytes())) {
      report_block(index, raw, "the refcount block lies behind the end of the file");
    } else {
      blocks_.push_back({index, geometry_.cluster_index(*block)});
    }
  }
}

void Checker::report_block(std::uint64_t index, std::uint64_t raw, std::string_view fault) {
  structure_wrong_ = true;
  Finding finding;
  finding.text = fmt::format("ERROR refcount table entry {} is {:#x}: {}", index, raw, fault);
  finding.meaning = "Which clusters of this range are in use is not recorded: a write could overwrite data.";
  finding.host_offset_bytes = image_.header.refcount_table.bytes + index * 8;
  finding.being_repaired = repairs_counts();
  findings_.report(finding);
}

void Checker::own(HostOffset at, std::uint64_t length_bytes, Owner owner) {
  const std::uint64_t first = geometry_.cluster_index(at);
  for (std::uint64_t i = 0; i < geometry_.clusters_for(length_bytes); ++i) owned_.push_back({first + i, owner});
}

// After the L1 tables: owned_ is sorted, and the L2 tables join it.
void Checker::add_metadata() {
  for (const OwnedCluster& owned : owned_) references_.add(owned.cluster, 1, Claim::none);
  for (const L2Table& table : tables_) owned_.push_back({table.cluster, Owner::l2_table});
  std::ranges::sort(owned_);
  claim_l2_tables();
  report_overlaps();
}

void Checker::report_overlaps() {
  for (std::size_t i = 1; i < owned_.size(); ++i) {
    if (owned_[i].cluster != owned_[i - 1].cluster) continue;
    const bool with_counts = holds_counts(owned_[i - 1].owner) || holds_counts(owned_[i].owner);
    structure_wrong_ |= with_counts;
    Finding finding;
    finding.text = fmt::format("ERROR host cluster {} belongs to the {} and to the {}", owned_[i].cluster,
                               owner_name(owned_[i - 1].owner), owner_name(owned_[i].owner));
    finding.meaning = "Writing one destroys the other.";
    finding.host_offset_bytes = owned_[i].cluster << geometry_.cluster_bits;
    finding.being_repaired = with_counts && repairs_counts();
    findings_.report(finding);
  }
}

std::optional<Owner> Checker::owner_at(std::uint64_t cluster) const {
  const auto found = std::ranges::lower_bound(owned_, cluster, {}, &OwnedCluster::cluster);
  if (found == owned_.end() || found->cluster != cluster) return std::nullopt;
  return found->owner;
}

bool Checker::sound(const BlockUse& block) const { return references_.count(block.cluster) == 1; }

std::string Checker::snapshot_id(std::uint32_t snapshot) const {
  return snapshot == 0 ? "" : image_.snapshots[snapshot - 1].entry.id;
}

void Checker::add_patch(HostOffset at, const Replacement& replacement, std::size_t length) {
  Patch patch;
  patch.at = at;
  patch.length = length;
  store_be64(patch.bytes.data(), replacement.first_word);
  store_be64(patch.bytes.data() + 8, replacement.second_word);
  patches_.push_back(patch);
}

void Checker::add_lost(std::uint64_t guest_offset_bytes, std::uint64_t length_bytes, std::uint32_t snapshot) {
  std::string id = snapshot_id(snapshot);
  if (!lost_.empty()) {
    LostRange& last = lost_.back();
    if (last.snapshot == id && last.guest_offset_bytes + last.length_bytes == guest_offset_bytes) {
      last.length_bytes += length_bytes;
      return;
    }
  }
  lost_.push_back({guest_offset_bytes, length_bytes, std::move(id)});
}

void Checker::fill(CheckReport& report) const {
  report.dirty = image_.header.is_dirty();
  report.image_end_offset_bytes = std::max(end_cluster_, references_.end()) << geometry_.cluster_bits;
  report.total_clusters = geometry_.clusters_for(image_.header.virtual_size_bytes);
  report.allocated_clusters = allocated_;
  report.fragmented_clusters = fragmented_;
  report.compressed_clusters = compressed_count_;
}

}  // namespace byre::check
