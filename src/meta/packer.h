// Where the next compressed payload goes: right behind the previous one (docs/format.md section 8.2). The position
// lives in memory only and is dropped when its cluster becomes free (section 27.1).
#pragma once

#include <cstdint>
#include <optional>

#include "byre/base/units.h"
#include "format/geometry.h"
#include "meta/allocator.h"
#include "meta/outcome.h"
#include "meta/refcounts.h"

namespace byre::meta {

class Packer {
 public:
  Packer(const format::Geometry& geometry, Refcounts& refcounts, Allocator& allocator)
      : geometry_(geometry), refcounts_(refcounts), allocator_(allocator) {}

  // Finds room for a payload of 1 to cluster size - 1 bytes, and counts one reference on each cluster it touches.
  Outcome<HostOffset> place(std::uint64_t payload_bytes);

  // The cluster became free or is about to: nothing may be packed into it any more.
  void forget(std::uint64_t cluster);

 private:
  Outcome<bool> append(std::uint64_t payload_bytes);

  const format::Geometry& geometry_;
  Refcounts& refcounts_;
  Allocator& allocator_;
  std::optional<HostOffset> next_;  // inside a cluster that holds at least one payload
};

}  // namespace byre::meta
