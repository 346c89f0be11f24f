// An entry that does not decode is decoded again without what must not be there: reserved bits, flags that contradict
// one another. What then points to a cluster of the file is taken for that, as lenient readers do; anything else points
// nowhere, and a repair can only give the range up.

#include "check/entries.h"

#include "base/text.h"

namespace byre::check {
namespace {

using format::ClusterKind;
using format::EntryFault;

constexpr std::uint64_t low_half = 0xffff'ffff;
constexpr const char* may_be_refused = "Readers may refuse this range; what it holds is still known.";
constexpr const char* is_lost = "The data of this range cannot be found any more.";

std::uint64_t without_overlap(std::uint64_t bitmap, bool has_offset) {
  const std::uint64_t allocated = has_offset ? bitmap & low_half : 0;
  return allocated | (bitmap & ~low_half & ~(allocated << 32));
}

// The words of an L2 entry as they should have been.
struct Words {
  std::uint64_t first;
  std::uint64_t second;
};

Words cleaned(const Image& image, Words words, GuestOffset guest) {
  const format::Geometry& geometry = image.geometry;
  if ((words.first & format::entry_compressed_flag) != 0) return {words.first & ~format::entry_copied_flag, 0};
  const bool may_have_flag = geometry.version >= 3 && !geometry.extended_l2;
  std::uint64_t offset = words.first & format::entry_offset_mask;
  if (geometry.external_data_file && offset != 0) offset = guest.bytes;
  if ((offset & geometry.cluster_mask()) != 0) offset = 0;
  const std::uint64_t copied = offset != 0 ? words.first & format::entry_copied_flag : 0;
  const std::uint64_t zero = may_have_flag ? words.first & format::entry_zero_flag : 0;
  const std::uint64_t bitmap = geometry.extended_l2 ? without_overlap(words.second, offset != 0) : 0;
  return {copied | offset | zero, bitmap};
}

bool points_into_file(const Image& image, const format::L2Entry& entry) {
  if (entry.kind == ClusterKind::compressed) {
    return image.inside(entry.compressed.offset, entry.compressed.length_bytes);
  }
  return !entry.has_host_cluster() || image.geometry.external_data_file ||
         image.inside(entry.host, image.geometry.cluster_size_bytes());
}

std::expected<format::L2Entry, EntryFault> decode(const Image& image, Words words, GuestOffset guest) {
  std::byte raw[16];
  store_be64(raw, words.first);
  store_be64(raw + 8, words.second);
  auto entry = format::decode_l2_entry(image.geometry, raw);
  if (entry && image.geometry.external_data_file && !format::obeys_identity_mapping(*entry, guest)) {
    return std::unexpected(EntryFault::data_file_offset_mismatch);
  }
  return entry;
}

// What is left of an entry whose host cluster is gone: ranges that read as zeros still do.
Replacement given_up(const Image& image, const format::L2Entry& entry) {
  if (image.geometry.extended_l2) {
    const std::uint64_t zero = entry.kind == ClusterKind::compressed ? 0 : entry.subclusters.zero;
    return {0, zero << 32, entry.kind == ClusterKind::compressed || entry.subclusters.allocated != 0};
  }
  const bool zero = entry.kind == ClusterKind::zero_allocated || entry.kind == ClusterKind::zero_plain;
  return {zero ? format::entry_zero_flag : 0, 0, !zero};
}

JudgedL2 wild(const Image& image, JudgedL2 judged, const format::L2Entry& entry) {
  judged.replacement = given_up(image, entry);
  judged.entry = format::L2Entry::unallocated();
  judged.meaning = judged.replacement->lost ? is_lost : may_be_refused;
  return judged;
}

}  // namespace

JudgedL1 judge_l1_entry(const Image& image, std::uint64_t raw) {
  JudgedL1 judged;
  const auto decoded = format::decode_l1_entry(image.geometry, raw);
  const std::uint64_t kept = raw & (format::entry_offset_mask | format::entry_copied_flag);
  const auto entry = decoded ? decoded : format::decode_l1_entry(image.geometry, kept);
  if (!decoded) judged.fault = format::describe(decoded.error());
  const bool follows = entry && image.inside(entry->l2_table, image.geometry.cluster_size_bytes());
  if (follows) {
    judged.l2_table = entry->l2_table;
    judged.copied = entry->copied;
    judged.meaning = may_be_refused;
    if (!decoded) judged.replacement = {entry->l2_table.bytes == 0 ? 0 : kept, 0, false};
    return judged;
  }
  if (judged.fault.empty()) judged.fault = "the L2 table lies behind the end of the file";
  judged.meaning = is_lost;
  judged.replacement = {0, 0, true};
  return judged;
}

JudgedL2 judge_l2_entry(const Image& image, const std::byte* raw, GuestOffset guest) {
  const Words words = {load_be64(raw), image.geometry.extended_l2 ? load_be64(raw + 8) : 0};
  JudgedL2 judged;
  const auto decoded = decode(image, words, guest);
  if (decoded && points_into_file(image, *decoded)) {
    judged.entry = *decoded;
    return judged;
  }
  if (decoded) {
    judged.fault = "it points behind the end of the file";
    return wild(image, std::move(judged), *decoded);
  }
  judged.fault = format::describe(decoded.error());
  const Words clean = cleaned(image, words, guest);
  const auto again = decode(image, clean, guest);
  if (!again) return wild(image, std::move(judged), format::L2Entry::unallocated());
  const bool had_offset = (words.first & format::entry_offset_mask) != 0;
  const bool lost_host = had_offset && !again->has_host_cluster() && again->kind != ClusterKind::compressed;
  if (!points_into_file(image, *again)) return wild(image, std::move(judged), *again);
  judged.entry = *again;
  const bool lost = lost_host && again->kind == ClusterKind::unallocated;
  const bool lost_bits = again->kind != ClusterKind::compressed && (words.second & low_half & ~clean.second) != 0;
  judged.replacement = {clean.first, clean.second, lost || lost_bits};
  judged.meaning = judged.replacement->lost ? is_lost : may_be_refused;
  return judged;
}

}  // namespace byre::check
