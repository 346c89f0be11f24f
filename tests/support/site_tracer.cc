#include "support/site_tracer.h"

#include "format/header.h"

namespace byre::test {
namespace {

// Which field group of the header a write replaces.
std::string header_part(const StorageEvent& event) {
  if (event.operation != StorageOperation::write) return "header";
  switch (event.offset_bytes) {
    case format::header_field::virtual_size: return "header: size";
    case format::header_field::l1_table: return "header: L1 pointer";
    case format::header_field::refcount_table: return "header: refcount table pointer";
    case format::header_field::autoclear_features: return "header: autoclear features";
    default: return "header: features";
  }
}

}  // namespace

SiteTracer::SiteTracer(SimulatedDisk& disk) : disk_(disk) {
  look_again();
  disk_.set_trace([this](const StorageEvent& event) { note(event); });
}

void SiteTracer::note(const StorageEvent& event) {
  if (event.completed) {
    if (event.operation == StorageOperation::flush) look_again();
    return;
  }
  Event added{event.operation, event.offset_bytes, event.length_bytes, {}, false, 0};
  const RegionMap map(disk_.running_image());
  const std::uint64_t cluster = event.offset_bytes >> map.geometry().cluster_bits;
  const auto& owners = map.owners(cluster);
  if (event.operation == StorageOperation::flush) {
    added.behind = last_write_;
  } else if (event.operation == StorageOperation::resize) {
    added.region = "file";
  } else if (cluster == 0) {
    added.region = header_part(event);
  } else if (!owners.empty()) {
    added.region = region_name(owners[0].kind);
  } else if (event.operation == StorageOperation::write) {
    added.fresh = true;
    open_.push_back(events_.size());
  } else {
    const auto at = last_owner_.find(cluster);
    added.region = at == last_owner_.end() ? "not linked" : region_name(at->second);
  }
  events_.push_back(added);
  if (event.operation == StorageOperation::write) last_write_ = events_.size();
}

void SiteTracer::look_again() {
  const RegionMap map(disk_.running_image());
  for (std::uint64_t cluster = 0; cluster < map.clusters(); ++cluster) {
    if (!map.owners(cluster).empty()) last_owner_[cluster] = map.owners(cluster)[0].kind;
  }
  std::erase_if(open_, [&](std::size_t number) {
    Event& event = events_[number];
    const auto& owners = map.owners(event.offset >> map.geometry().cluster_bits);
    if (!owners.empty()) event.region = region_name(owners[0].kind);
    return !owners.empty();
  });
}

std::string SiteTracer::text(const Event& event) const {
  if (event.operation == StorageOperation::flush) {
    return event.behind == 0 ? "flush first" : "flush behind " + text(events_[event.behind - 1]);
  }
  const std::string_view region = event.region.empty() ? "never linked" : std::string_view(event.region);
  return std::string(storage_operation_name(event.operation)) + " " + (event.fresh ? "new " : "") + std::string(region);
}

std::vector<std::string> SiteTracer::sites() const {
  std::vector<std::string> all;
  for (const Event& event : events_) all.push_back(text(event));
  return all;
}

}  // namespace byre::test
