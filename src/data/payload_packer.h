// Where compressed payloads go when they are moved: one behind the other, in free clusters.
#pragma once

#include <cstdint>
#include <optional>

#include "byre/base/units.h"
#include "data/host_map.h"
#include "format/entry.h"
#include "format/geometry.h"

namespace byre {

// Of the entry of a compressed cluster, which has been checked.
format::CompressedExtent decoded_payload(const format::Geometry& geometry, std::uint64_t word);
std::uint64_t encoded_payload(const format::Geometry& geometry, const format::CompressedExtent& payload);

class PayloadPacker {
 public:
  // Map must outlive the packer. Nothing is placed at or behind cluster `below`.
  PayloadPacker(const format::Geometry& geometry, HostMap& map, std::uint64_t below)
      : geometry_(geometry), map_(map), below_(below) {}

  // Each cluster that the payload touches there gets so many references, never more than the width can count. None:
  // there is no room.
  std::optional<HostOffset> place(const format::CompressedExtent& payload, std::uint64_t references);

 private:
  bool continues(std::uint64_t begin_bytes, std::uint64_t end_bytes, std::uint64_t references);

  const format::Geometry geometry_;
  HostMap& map_;
  const std::uint64_t below_;
  std::uint64_t at_bytes_ = 0;    // behind the last one: a multiple of 512
  std::uint64_t end_bytes_ = 0;   // of the clusters that were taken
  std::uint64_t references_ = 0;  // to the cluster before at_bytes_
};

}  // namespace byre
