// begin, I/O, end: host clusters promised to a guest range. Everything that can fail has happened when one exists;
// commit() links, the destructor of one that was not committed gives the clusters back.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "byre/base/units.h"
#include "meta/allocator.h"
#include "meta/mapping.h"
#include "meta/page_cache.h"

namespace byre::meta {

class Metadata;

// Consecutive guest clusters on consecutive host clusters.
struct PlacedRun {
  GuestOffset guest;
  HostRun host;
  bool reused = false;  // the clusters were theirs before (zero, allocated): content is old and must be overwritten
};

class Reservation {
 public:
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&&) = delete;
  ~Reservation();

  // In guest order, without gaps.
  std::span<const PlacedRun> runs() const { return runs_; }

  // The reserved bytes, for a compressed reservation.
  const format::CompressedExtent& extent() const { return extent_; }

  // Links the clusters and unlinks what they replace. Cannot fail, cannot wait. The data must have been written.
  void commit() && noexcept;

 private:
  friend class Metadata;
  explicit Reservation(Metadata& metadata) : metadata_(&metadata) {}

  Metadata* metadata_;
  bool handed_out_ = false;  // somebody may have written into its clusters
  std::vector<PlacedRun> runs_;
  std::vector<PagePin> pins_;
  GuestOffset compressed_guest_;
  format::CompressedExtent extent_{};
};

}  // namespace byre::meta
