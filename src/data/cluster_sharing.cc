// A digest of 256 bits stands for its cluster: no two that differ are known for SHA-256, and none will be met by
// chance.
//
// Only compressed clusters are shared. Were a plain one, its entries would have COPIED clear (I-24), and when the last
// but one of them is overwritten, by any program, the one that is left would have to get it: nobody can find it.
//
// Leaves out: clusters that are met when the table is full are not remembered, so that which ones are shared follows
// from the content alone.

#include "data/cluster_sharing.h"

#include <cstring>
#include <utility>

#include "base/endian.h"
#include "byre/base/assert.h"
#include "byre/task/event_loop.h"
#include "format/entry.h"
#include "format/refcount.h"

namespace byre {
namespace {

constexpr std::uint64_t states_with_room = 64;

// Each snapshot adds as many references as the disk has. Wide counts keep room for 63 of them; who chooses narrow ones
// has none in any image.
std::uint64_t most_references(const format::Geometry& geometry) {
  const std::uint64_t most = format::max_refcount(geometry.refcount_order);
  return geometry.refcount_bits() < 16 ? most : most / states_with_room;
}

format::CompressedExtent extent_of(const format::Geometry& geometry, std::uint64_t word) {
  std::byte raw[8];
  store_be64(raw, word);
  const auto entry = format::decode_l2_entry(geometry, raw);
  BYRE_ASSERT(entry && entry->kind == format::ClusterKind::compressed);
  return entry->compressed;
}

}  // namespace

std::size_t ClusterSharing::FirstBytes::operator()(const ClusterDigest& digest) const noexcept {
  std::size_t first = 0;
  std::memcpy(&first, digest.data(), sizeof first);
  return first;
}

ClusterSharing::ClusterSharing(ImageWriter& writer, SharingRules rules)
    : writer_(writer),
      rules_(std::move(rules)),
      geometry_(writer.geometry()),
      most_references_(most_references(geometry_)) {}

Task<std::optional<ClusterDigest>> ClusterSharing::digest_of(ConstBytes data) const {
  if (data.size() < geometry_.cluster_size_bytes() || most_references_ < 2) co_return std::nullopt;
  ClusterDigest digest;
  co_await offload([this, data, &digest] { rules_.digest(data, digest); });
  co_return digest;
}

std::uint64_t ClusterSharing::share(const ClusterDigest& digest) {
  const auto known = known_.find(digest);
  if (known == known_.end()) return 0;
  const format::CompressedExtent extent = extent_of(geometry_, known->second);
  return writer_.add_reference(extent.offset, extent.length_bytes, most_references_) ? known->second : 0;
}

bool ClusterSharing::prepare(const ClusterDigest& digest) {
  if (known_.size() >= rules_.most_clusters && !known_.contains(digest)) return false;
  writer_.keep_next_counts();
  return true;
}

}  // namespace byre
