#include "support/owner_watch.h"

#include <fmt/core.h>

#include <algorithm>

#include "data/qcow2_disk.h"

namespace byre::test {
namespace {

bool is_guest(const Region& region) { return region.kind == RegionKind::data || region.kind == RegionKind::payload; }

std::string text(const Region& region) {
  return fmt::format("{} {}{}", region_name(region.kind), region.guest, region.snapshot > 0 ? " of a snapshot" : "");
}

}  // namespace

OwnerWatch::OwnerWatch(SimulatedDisk& storage, Disk& disk) : storage_(storage), disk_(dynamic_cast<Qcow2Disk&>(disk)) {
  storage_.set_trace([this](const StorageEvent& event) { note(event); });
}

void OwnerWatch::fail(std::string text) {
  if (failure_.empty()) failure_ = std::move(text);
}

void OwnerWatch::note(const StorageEvent& event) {
  if (!failure_.empty()) return;
  if (event.completed) {
    in_flight_.erase(event.number);
    if (event.operation == StorageOperation::flush) durable_.reset();
    check_all(owners_in_memory());
    return;
  }
  if (event.operation == StorageOperation::write || event.operation == StorageOperation::punch) {
    check_request(event, owners_in_memory());
  }
  if (event.operation == StorageOperation::allocate) return;  // changes no byte
  in_flight_[event.number] = {event.operation, event.offset_bytes, event.offset_bytes + event.length_bytes};
}

const RegionMap& OwnerWatch::durable() {
  if (!durable_) {
    SimulatedRandom unused(0);
    storage_.crash_image(unused, CrashMode::nothing, durable_image_);
    durable_.emplace(durable_image_);
  }
  return *durable_;
}

// A guest cluster whose page the engine does not have in memory is as the disk says.
OwnerWatch::Owners OwnerWatch::owners_in_memory() {
  Owners owners;
  const RegionMap written(storage_.running_image());
  const std::uint64_t cluster_bytes = written.geometry().cluster_size_bytes();
  std::vector<bool> unknown(written.geometry().clusters_for(disk_.size_bytes()), false);
  for (std::uint64_t guest = 0; guest < unknown.size(); ++guest) {
    const auto extent = disk_.metadata().lookup(GuestOffset(guest * cluster_bytes), cluster_bytes);
    if (!extent) {
      unknown[guest] = true;
    } else if (extent->kind == format::ClusterKind::compressed) {
      const std::uint64_t last = extent->compressed.offset.bytes + extent->compressed.length_bytes - 1;
      for (std::uint64_t at = extent->compressed.offset.bytes / cluster_bytes; at <= last / cluster_bytes; ++at) {
        owners[at].push_back({RegionKind::payload, guest});
      }
    } else if (extent->host.bytes != 0) {
      owners[extent->host.bytes / cluster_bytes].push_back({RegionKind::data, guest});
    }
  }
  for (std::uint64_t cluster = 0; cluster < written.clusters(); ++cluster) {
    for (const Region& region : written.owners(cluster)) {
      const bool missing = region.snapshot == 0 && is_guest(region) && region.guest < unknown.size();
      if (missing && unknown[region.guest]) owners[cluster].push_back(region);
    }
  }
  return owners;
}

void OwnerWatch::check_all(const Owners& in_memory) {
  ++looks_;
  const RegionMap written(storage_.running_image());
  for (const RegionMap* map : {&durable(), &written}) {
    const std::uint64_t wrong = map->first_shared_wrongly();
    if (wrong < map->clusters()) fail(fmt::format("two owners on disk: cluster {}", wrong));
  }
  for (const auto& [cluster, owners] : in_memory) {
    const bool several = owners.size() > 1 && !std::ranges::all_of(owners, [](const Region& region) {
                           return region.kind == RegionKind::payload;
                         });
    if (several) {
      fail(fmt::format("two owners: cluster {} is {} and {}", cluster, text(owners[0]), text(owners[1])));
    }
    for (const Region& region : durable().owners(cluster)) {
      if (!is_guest(region)) {
        fail(fmt::format("two owners: cluster {} is {}, on disk {}", cluster, text(owners[0]), text(region)));
      }
    }
  }
}

void OwnerWatch::check_request(const StorageEvent& event, const Owners& in_memory) {
  ++requests_;
  const unsigned bits = durable().geometry().cluster_bits;
  const std::uint64_t end = event.offset_bytes + event.length_bytes;
  for (std::uint64_t cluster = event.offset_bytes >> bits; cluster <= (end - 1) >> bits; ++cluster) {
    check_cluster(event, cluster, in_memory);
  }
}

// A payload is read to the end of its last sector (docs/format.md section 8.1), where the next one may begin.
bool OwnerWatch::only_read_along(const StorageEvent& event, const InFlight& other) {
  constexpr std::uint64_t sector = 512;
  return event.operation == StorageOperation::write && other.operation == StorageOperation::read &&
         event.offset_bytes > other.begin && event.offset_bytes / sector == (other.end - 1) / sector;
}

void OwnerWatch::check_cluster(const StorageEvent& event, std::uint64_t cluster, const Owners& in_memory) {
  const unsigned bits = durable().geometry().cluster_bits;
  const auto at = in_memory.find(cluster);
  const Region* owner = at == in_memory.end() ? nullptr : &at->second[0];
  const std::string what = fmt::format("{} #{} of {:#x}+{:#x}", storage_operation_name(event.operation), event.number,
                                       event.offset_bytes, event.length_bytes);
  for (const Region& region : durable().owners(cluster)) {
    if (event.operation == StorageOperation::write) {
      if (!is_guest(region) && !owner) continue;         // the tables themselves are written
      if (region.kind == RegionKind::payload) continue;  // another one is appended
      if (owner && region == *owner) continue;
    }
    return fail(fmt::format("taken early: {} touches cluster {}, which on disk is {}, in memory {}", what, cluster,
                            text(region), owner ? text(*owner) : "nobody's"));
  }
  if (owner && event.operation == StorageOperation::punch) {
    return fail(fmt::format("taken early: {} touches cluster {}, which is {}", what, cluster, text(*owner)));
  }
  if (owner || !durable().owners(cluster).empty()) return;
  const std::uint64_t begin = std::max(event.offset_bytes, cluster << bits);
  const std::uint64_t end = std::min(event.offset_bytes + event.length_bytes, (cluster + 1) << bits);
  for (const auto& [number, other] : in_flight_) {
    if (begin >= other.end || other.begin >= end || only_read_along(event, other)) continue;
    return fail(fmt::format("taken twice: {} overlaps {} #{} of {:#x}+{:#x}, which is in flight", what,
                            storage_operation_name(other.operation), number, other.begin, other.end - other.begin));
  }
}

}  // namespace byre::test
