// Changes of the mapping: make the L2 tables private, place clusters, link and unlink.
//
// All that can fail comes first and is repeatable: pages are asked for before anything is reserved, new L2 tables stay
// even if the request then fails (an empty table is valid), reserved clusters go back through the Reservation. Linking
// and unlinking touch pinned pages only.

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ranges>

#include "base/math.h"
#include "base/probe.h"
#include "base/text.h"
#include "format/entry.h"
#include "meta/metadata.h"

namespace byre::meta {
namespace {

using format::ClusterKind;
using format::L2Entry;

}  // namespace

Reservation::Reservation(Reservation&& other) noexcept
    : metadata_(std::exchange(other.metadata_, nullptr)),
      handed_out_(other.handed_out_),
      runs_(std::move(other.runs_)),
      pins_(std::move(other.pins_)),
      compressed_guest_(other.compressed_guest_),
      extent_(other.extent_) {}

Reservation::~Reservation() {
  if (metadata_) metadata_->abort(*this);
}

void Reservation::commit() && noexcept {
  std::exchange(metadata_, nullptr)->commit(*this);
  pins_.clear();
}

Outcome<void> Metadata::ensure_tables(GuestOffset first, std::uint64_t clusters) {
  const GuestOffset last = first + ((clusters - 1) << geometry_.cluster_bits);
  for (std::uint64_t i = geometry_.l1_index(first); i <= geometry_.l1_index(last); ++i) BYRE_CHECK(ensure_table(i));
  return {};
}

// After it, the L1 entry names a table that only this L1 entry refers to (O-5, O-6).
Outcome<void> Metadata::ensure_table(std::uint64_t l1_index) {
  BYRE_TRY(const format::L1Entry old, mapping_.l1_entry(l1_index, host_end()));
  const bool exists = old.l2_table.bytes != 0;
  if (exists && old.copied) {
    BYRE_TRY(const std::uint64_t count, refcounts_.get(cluster_of(old.l2_table), host_end()));
    if (count == 1) return {};
    return damaged(fmt::format("L1 entry {} carries COPIED, but its L2 table at {:#x} has refcount {}", l1_index,
                               old.l2_table.bytes, count));
  }
  std::vector<PagePin> old_pages;
  if (exists) BYRE_CHECK(pin_table_pages(old.l2_table, old_pages));
  BYRE_TRY(const HostRun run, allocator_.reserve(1));
  new_table(run.at, old.l2_table);
  allocator_.commit(run);
  mapping_.l1().set(l1_index, format::encode_l1_entry({run.at, true}));
  if (exists) BYRE_PROBE("edit: a shared L2 table is copied");
  if (exists) guard_.remove(cluster_of(old.l2_table), 1);
  const auto taken = guard_.add(MetadataKind::l2_table, cluster_of(run.at), 1);
  BYRE_ASSERT(!taken);
  if (exists) drop(cluster_of(old.l2_table), leases_.stamp_unlink(), false, true);
  return {};
}

Outcome<void> Metadata::pin_table_pages(HostOffset table, std::vector<PagePin>& pins) {
  const std::uint64_t page_size = cache_.page_size_bytes();
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  for (std::uint64_t offset = 0; offset < cluster_size; offset += page_size) {
    Page* page = cache_.find(table + offset);
    if (!page) {
      const auto left = static_cast<std::uint32_t>((cluster_size - offset) / page_size);
      return std::unexpected(Stop::missing({table + offset, PageKind::l2, left}));
    }
    pins.emplace_back(*page);
  }
  return {};
}

void Metadata::new_table(HostOffset table, HostOffset copy_from) {
  cache_.forget(table, geometry_.cluster_size_bytes());
  for (std::uint64_t offset = 0; offset < geometry_.cluster_size_bytes(); offset += cache_.page_size_bytes()) {
    Page& page = cache_.insert(table + offset, PageKind::l2);
    if (copy_from.bytes != 0) {
      std::memcpy(page.bytes.get(), cache_.find(copy_from + offset)->bytes.get(), cache_.page_size_bytes());
    }
    cache_.mark_dirty(page);
  }
}

Outcome<Reservation> Metadata::reserve(GuestOffset first, std::uint64_t clusters) {
  BYRE_ASSERT(clusters > 0 && clusters <= max_reserved_clusters());
  BYRE_CHECK(ensure_tables(first, clusters));
  Reservation reservation(*this);
  for (std::uint64_t done = 0; done < clusters;) {
    BYRE_TRY(const std::uint64_t pinned, pin_entries(reservation, guest_after(first, done), clusters - done));
    done += pinned;
  }
  for (std::uint64_t done = 0; done < clusters;) {
    BYRE_TRY(const std::uint64_t placed, place_run(reservation, guest_after(first, done), clusters - done));
    done += placed;
  }
  reservation.handed_out_ = true;
  return reservation;
}

// Pins the L2 page that holds the entry of `at`, and checks the entries in it that will be replaced.
Outcome<std::uint64_t> Metadata::pin_entries(Reservation& reservation, GuestOffset at, std::uint64_t clusters) {
  BYRE_TRY(const EntryRun in_page, mapping_.entries(at, clusters, host_end()));
  for (std::uint64_t i = 0; i < in_page.count; ++i) {
    if (in_page.is_empty(i)) continue;
    const GuestOffset guest = guest_after(at, i);
    BYRE_TRY(const L2Entry entry, mapping_.decode(in_page[i], guest));
    BYRE_CHECK(check_replaceable(entry, guest));
  }
  reservation.pins_.emplace_back(*in_page.first.page);
  return in_page.count;
}

// An entry that names metadata must not be unlinked: it would lower the count of what it does not own (H-23). Nor one
// whose cluster has no count left for it (H-44): the allocator might hand out that very cluster to replace it (H-25).
Outcome<void> Metadata::check_replaceable(const L2Entry& entry, GuestOffset at) {
  const bool compressed = entry.kind == ClusterKind::compressed;
  if (!compressed && !entry.has_host_cluster()) return {};
  const HostOffset from = compressed ? entry.compressed.offset : entry.host;
  const std::uint64_t length = compressed ? entry.compressed.length_bytes : geometry_.cluster_size_bytes();
  if (!fits_within(from.bytes, length, host_end().bytes)) {
    return std::unexpected(Stop::failed(
        Error(ErrorCode::corrupt, fmt::format("guest offset {:#x} is mapped to host offset {:#x}, behind the end of "
                                              "the file; it can only be repaired",
                                              at.bytes, from.bytes))));
  }
  for (std::uint64_t cluster = cluster_of(from); cluster <= cluster_of(from + (length - 1)); ++cluster) {
    if (const auto kind = guard_.at(cluster)) {
      return damaged(fmt::format("guest offset {:#x} is mapped to host cluster {}, which belongs to the {}", at.bytes,
                                 cluster, describe(*kind)));
    }
    BYRE_TRY(const std::uint64_t count, refcounts_.get(cluster, host_end()));
    if (count > life_.going(cluster)) continue;
    return damaged(
        fmt::format("guest offset {:#x} is mapped to host cluster {}, which has refcount {} but more "
                    "references",
                    at.bytes, cluster, count));
  }
  return {};
}

// One run at `at`: clusters that keep their host cluster (zero, allocated, not shared), or newly reserved ones.
Outcome<std::uint64_t> Metadata::place_run(Reservation& reservation, GuestOffset at, std::uint64_t clusters) {
  BYRE_TRY(const Reusable next, next_reusable(at, clusters));
  if (next.clusters_before == 0) {
    BYRE_PROBE("edit: a zero cluster's host cluster is used again");
    reservation.runs_.push_back({at, {next.host, 1, false}, true});
    return 1;
  }
  BYRE_TRY(const HostRun run, allocator_.reserve(next.clusters_before));
  reservation.runs_.push_back({at, run, false});
  // The destructor must be able to lower the count without waiting.
  const auto page = refcounts_.page_of(cluster_of(run.at), host_end());
  BYRE_ASSERT(page && *page);
  reservation.pins_.emplace_back(**page);
  return run.clusters;
}

// The first of the clusters from `at` on that keeps its host cluster; none of them if `clusters` are before it.
Outcome<Metadata::Reusable> Metadata::next_reusable(GuestOffset at, std::uint64_t clusters) {
  for (std::uint64_t done = 0; done < clusters;) {
    BYRE_TRY(const EntryRun in_page, mapping_.entries(guest_after(at, done), clusters - done, host_end()));
    for (std::uint64_t i = 0; i < in_page.count; ++i, ++done) {
      if (in_page.is_empty(i)) continue;
      const GuestOffset guest = guest_after(at, done);
      BYRE_TRY(const L2Entry entry, mapping_.decode(in_page[i], guest));
      if (entry.kind != ClusterKind::zero_allocated || !entry.copied) continue;
      BYRE_CHECK(check_sole_owner(cluster_of(entry.host), guest));
      return Reusable{done, entry.host};
    }
  }
  return Reusable{clusters, {}};
}

void Metadata::commit(Reservation& reservation) {
  const std::uint64_t stamp = leases_.stamp_unlink();
  if (reservation.extent_.length_bytes > 0) {
    // Only onto entries without a host cluster: nothing to unlink.
    const EntryRun entry = pinned_entries(reservation.compressed_guest_, 1);
    mapping_.store(entry.first, L2Entry::from_compressed(reservation.extent_));
    links_made_.data_first = true;
    return;
  }
  for (const PlacedRun& run : reservation.runs_) {
    if (!run.reused) allocator_.commit(run.host);
    for (std::uint64_t done = 0; done < run.host.clusters;) done += link(run, done, stamp);
  }
}

// Of a run, the clusters from `from` on whose entries are in one page. How many these are.
std::uint64_t Metadata::link(const PlacedRun& run, std::uint64_t from, std::uint64_t stamp) {
  const EntryRun in_page = pinned_entries(guest_after(run.guest, from), run.host.clusters - from);
  for (std::uint64_t i = 0; i < in_page.count; ++i) {
    const auto old = in_page.is_empty(i) ? Outcome<L2Entry>(L2Entry::unallocated())
                                         : mapping_.decode(in_page[i], guest_after(run.guest, from + i));
    mapping_.store(in_page[i], L2Entry::normal(run.host.at + ((from + i) << geometry_.cluster_bits), true));
    note_link(run, from + i, old);
    if (old && !run.reused) unlink(*old, stamp, false);
  }
  return in_page.count;
}

// A fresh cluster reads as zeros until its data is there. Where the guest read zeros before, that is the old content.
void Metadata::note_link(const PlacedRun& run, std::uint64_t index, const Outcome<L2Entry>& old) {
  const bool plain = old && old->kind != ClusterKind::normal && old->kind != ClusterKind::compressed;
  const bool replaces_zeros = plain && (old->kind != ClusterKind::unallocated || !has_backing_);
  if (!run.host.fresh || run.reused || !replaces_zeros) {
    links_made_.data_first = true;
    return;
  }
  links_made_.fresh_end = std::max(links_made_.fresh_end, run.host.at + ((index + 1) << geometry_.cluster_bits));
}

EntryRun Metadata::pinned_entries(GuestOffset at, std::uint64_t clusters) {
  const auto entries = mapping_.entries(at, clusters, host_end());
  BYRE_ASSERT(entries);
  return *entries;
}

void Metadata::abort(Reservation& reservation) {
  const format::CompressedExtent& extent = reservation.extent_;
  if (extent.length_bytes > 0) {
    BYRE_PROBE("edit: a compressed reservation goes back");
    // Counted like a linked extent, so it leaves like one.
    unlink(L2Entry::from_compressed(extent), leases_.stamp_unlink(), false);
  }
  for (const PlacedRun& run : std::views::reverse(reservation.runs_)) {
    if (!run.reused) allocator_.abort(run.host, !reservation.handed_out_);
  }
}

void Metadata::unlink(const L2Entry& entry, std::uint64_t stamp, bool punch) {
  if (entry.has_host_cluster()) drop(cluster_of(entry.host), stamp, punch, false);
  if (entry.kind != ClusterKind::compressed) return;
  const HostOffset last = entry.compressed.offset + (entry.compressed.length_bytes - 1);
  for (std::uint64_t cluster = cluster_of(entry.compressed.offset); cluster <= cluster_of(last); ++cluster) {
    drop(cluster, stamp, punch, false);
  }
}

void Metadata::drop(std::uint64_t cluster, std::uint64_t stamp, bool punch, bool table) {
  if (life_.unlink(cluster)) {
    drops_.add({cluster, stamp, punch, table});
  } else {
    note_damage(fmt::format("host cluster {} was unlinked while another owner was writing it", cluster));
  }
}

Outcome<void> Metadata::check_unallocated(GuestOffset cluster) {
  BYRE_TRY(const MappedExtent extent, lookup(cluster, geometry_.cluster_size_bytes()));
  if (extent.kind == ClusterKind::unallocated || extent.kind == ClusterKind::zero_plain) return {};
  return std::unexpected(Stop::failed(
      Error(ErrorCode::io,
            fmt::format("guest offset {:#x} is allocated: only unallocated clusters can be written compressed",
                        cluster.bytes),
            EIO)));
}

Outcome<Reservation> Metadata::reserve_unallocated(GuestOffset cluster) {
  BYRE_CHECK(check_unallocated(cluster));
  return reserve(cluster, 1);
}

Outcome<Reservation> Metadata::reserve_compressed(GuestOffset cluster, std::uint64_t payload_bytes) {
  BYRE_CHECK(check_unallocated(cluster));
  BYRE_CHECK(ensure_tables(cluster, 1));
  Reservation reservation(*this);
  BYRE_CHECK(pin_entries(reservation, cluster, 1));
  BYRE_TRY(const HostOffset at, packer_.place(payload_bytes));
  const auto extent = format::make_compressed_extent(geometry_, at, payload_bytes);
  BYRE_ASSERT(extent.has_value() || extent.error() == format::EntryFault::compressed_offset_too_large);
  if (!extent) {
    return std::unexpected(Stop::failed(
        Error(ErrorCode::no_space, "the image file is too long for compressed clusters of its cluster size", ENOSPC)));
  }
  reservation.compressed_guest_ = cluster;
  reservation.extent_ = *extent;
  return reservation;
}

L2Entry Metadata::cleared(const L2Entry& entry, Clear mode) const {
  if (geometry_.version < 3 || mode == Clear::forget) return L2Entry::unallocated();
  const bool allocated = entry.has_host_cluster() || entry.kind == ClusterKind::compressed;
  if (mode == Clear::discard && !allocated && !has_backing_) return entry;
  if (mode == Clear::zero_keep && entry.has_host_cluster()) return L2Entry::zero_allocated(entry.host, entry.copied);
  return L2Entry::zero_plain();
}

Outcome<std::uint64_t> Metadata::clear(GuestOffset first, std::uint64_t clusters, Clear mode, bool punch) {
  BYRE_ASSERT((can_clear() || mode == Clear::forget) && clusters > 0);
  BYRE_TRY(const MappedExtent extent, lookup(first, clusters << geometry_.cluster_bits));
  const bool unallocated = extent.kind == ClusterKind::unallocated;
  const bool nothing_to_hide =
      geometry_.version < 3 || mode == Clear::forget || (mode == Clear::discard && !has_backing_);
  if (unallocated && nothing_to_hide) return extent.length_bytes >> geometry_.cluster_bits;
  BYRE_CHECK(ensure_tables(first, 1));
  BYRE_TRY(const EntryRun in_page, mapping_.entries(first, clusters, host_end()));
  const std::uint64_t stamp = leases_.stamp_unlink();
  for (std::uint64_t i = 0; i < in_page.count; ++i) {
    BYRE_TRY(const L2Entry old, mapping_.decode(in_page[i], guest_after(first, i)));
    const L2Entry next = cleared(old, mode);
    if (next == old) continue;
    BYRE_CHECK(check_replaceable(old, guest_after(first, i)));
    mapping_.store(in_page[i], next);
    if (!next.has_host_cluster()) unlink(old, stamp, punch);
  }
  return in_page.count;
}

}  // namespace byre::meta
