// Which payloads of a new image hold what, so that equal clusters are stored once: one payload with several references
// (docs/decisions/0018).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_map>

#include "byre/base/buffer.h"
#include "byre/task/task.h"
#include "data/image_writer.h"

namespace byre {

using ClusterDigest = std::array<std::byte, 32>;

struct SharingRules {
  // Of a cluster. Called in worker threads. Clusters with the same digest are taken to be equal.
  std::function<void(ConstBytes cluster, ClusterDigest& digest)> digest;
  // So many are remembered, the first ones that differ; later clusters can only be equal to these. 72 MiB.
  std::size_t most_clusters = 1 << 20;
};

class ClusterSharing {
 public:
  // The writer must outlive it.
  ClusterSharing(ImageWriter& writer, SharingRules rules);

  // Nothing for what is not shared: less than a cluster, or any where counts only reach 1. The caller keeps the data
  // meanwhile.
  Task<std::optional<ClusterDigest>> digest_of(ConstBytes data) const;

  bool knows(const ClusterDigest& digest) const { return known_.contains(digest); }
  // The L2 entry, which has got one reference more. 0: no payload of this digest is known, or a host cluster of it has
  // all the references that it can have.
  std::uint64_t share(const ClusterDigest& digest);
  // Before a payload is placed that could not be shared: whether there is room to remember it.
  bool prepare(const ClusterDigest& digest);
  // Later clusters of this digest get this L2 entry, of a payload. After a successful prepare().
  void remember(const ClusterDigest& digest, std::uint64_t word) { known_.insert_or_assign(digest, word); }

 private:
  struct FirstBytes {
    std::size_t operator()(const ClusterDigest& digest) const noexcept;
  };

  ImageWriter& writer_;
  const SharingRules rules_;
  const format::Geometry geometry_;
  const std::uint64_t most_references_;
  std::unordered_map<ClusterDigest, std::uint64_t, FirstBytes> known_;
};

}  // namespace byre
