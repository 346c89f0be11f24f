// An entry says where a payload begins, to the byte, and how many sectors it may reach into; where it ends, only a
// decoder finds out. So it is moved by whole sectors, and begins at the same place in its first one.

#include "data/payload_packer.h"

#include "base/endian.h"
#include "format/limits.h"
#include "format/refcount.h"

namespace byre {
namespace {
using format::sector_bytes;
}  // namespace

format::CompressedExtent decoded_payload(const format::Geometry& geometry, std::uint64_t word) {
  std::byte raw[16] = {};
  store_be64(raw, word);
  return format::decode_l2_entry(geometry, raw)->compressed;
}

std::uint64_t encoded_payload(const format::Geometry& geometry, const format::CompressedExtent& payload) {
  return format::encode_l2_word(geometry, format::L2Entry::from_compressed(payload));
}

std::optional<HostOffset> PayloadPacker::place(const format::CompressedExtent& payload, std::uint64_t references) {
  const std::uint64_t skipped = payload.offset.bytes % sector_bytes;
  std::uint64_t begin = at_bytes_ + skipped;
  if (!continues(begin, begin + payload.length_bytes, references)) {
    const std::uint64_t clusters = geometry_.clusters_for(skipped + payload.length_bytes);
    const auto first = map_.take(clusters, below_);
    if (!first) return std::nullopt;
    begin = (*first << geometry_.cluster_bits) + skipped;
    end_bytes_ = (*first + clusters) << geometry_.cluster_bits;
    references_ = 0;
  }
  const std::uint64_t end = begin + payload.length_bytes;
  const bool same_cluster = (begin >> geometry_.cluster_bits) == ((end - 1) >> geometry_.cluster_bits);
  references_ = same_cluster ? references_ + references : references;
  at_bytes_ = end;
  return HostOffset(begin);
}

// Whether there is room behind the last one, in the rest of its cluster and free ones that follow; these are taken.
bool PayloadPacker::continues(std::uint64_t begin_bytes, std::uint64_t end_bytes, std::uint64_t references) {
  if (end_bytes_ == 0) return false;
  if (at_bytes_ == end_bytes_) references_ = 0;
  if (references > format::max_refcount(geometry_.refcount_order) - references_) return false;
  if (begin_bytes >= end_bytes_ && at_bytes_ < end_bytes_) return false;
  if (end_bytes <= end_bytes_) return true;
  const std::uint64_t more = geometry_.clusters_for(end_bytes - end_bytes_);
  if (!map_.take_at(end_bytes_ >> geometry_.cluster_bits, more, below_)) return false;
  end_bytes_ += more << geometry_.cluster_bits;
  return true;
}

}  // namespace byre
