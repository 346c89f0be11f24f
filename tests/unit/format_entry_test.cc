#include <gtest/gtest.h>

#include <array>
#include <random>

#include "format/entry.h"

namespace byre::format {
namespace {

constexpr Geometry plain_geometry = {3, 16, 4, false, false};
constexpr Geometry extended_geometry = {3, 16, 4, true, false};
constexpr Geometry version_2_geometry = {2, 16, 4, false, false};
constexpr Geometry data_file_geometry = {3, 16, 4, false, true};
constexpr Geometry extended_data_file_geometry = {3, 16, 4, true, true};
constexpr std::uint64_t copied = std::uint64_t{1} << 63;

using RawL2Entry = std::array<std::byte, 16>;

RawL2Entry raw_entry(std::uint64_t first, std::uint64_t second = 0) {
  RawL2Entry raw;
  store_be64(raw.data(), first);
  store_be64(raw.data() + 8, second);
  return raw;
}

std::expected<L2Entry, EntryFault> decode(const Geometry& geometry, std::uint64_t first, std::uint64_t second = 0) {
  return decode_l2_entry(geometry, raw_entry(first, second).data());
}

EntryFault fault(const Geometry& geometry, std::uint64_t first, std::uint64_t second = 0) {
  const auto entry = decode(geometry, first, second);
  EXPECT_FALSE(entry.has_value()) << std::hex << first << " " << second;
  return entry ? EntryFault{} : entry.error();
}

RawL2Entry encode(const Geometry& geometry, const L2Entry& entry) {
  RawL2Entry raw = raw_entry(0);
  encode_l2_entry(geometry, entry, raw.data());
  return raw;
}

std::vector<Geometry> all_geometries() {
  std::vector<Geometry> all;
  for (unsigned bits = min_cluster_bits; bits <= max_cluster_bits; ++bits) {
    for (const bool data_file : {false, true}) {
      for (const unsigned version : {2u, 3u}) all.push_back({version, bits, 4, false, data_file});
      if (bits >= min_cluster_bits_extended_l2) all.push_back({3, bits, 4, true, data_file});
    }
  }
  return all;
}

TEST(EntryFault, EachHasADescriptionOfItsOwn) {
  std::vector<std::string_view> seen;
  for (int i = 0; i <= static_cast<int>(EntryFault::flag_with_offset); ++i) {
    const std::string_view text = describe(static_cast<EntryFault>(i));
    EXPECT_NE(text, "unknown fault");
    EXPECT_EQ(std::count(seen.begin(), seen.end(), text), 0);
    seen.push_back(text);
  }
}

// docs/format.md section 7.1, I-19.
TEST(L1Entry, EachBitIsReservedOrAnOffsetOrTheCopiedFlag) {
  for (unsigned bits = min_cluster_bits; bits <= max_cluster_bits; ++bits) {
    const Geometry geometry = {3, bits, 4, false, false};
    for (unsigned bit = 0; bit < 64; ++bit) {
      const std::uint64_t raw = std::uint64_t{1} << bit;
      const auto entry = decode_l1_entry(geometry, raw);
      if (bit <= 8 || (bit >= 56 && bit <= 62)) {
        ASSERT_FALSE(entry.has_value()) << bit;
        EXPECT_EQ(entry.error(), EntryFault::reserved_bits);
      } else if (bit < bits) {
        ASSERT_FALSE(entry.has_value()) << bit;
        EXPECT_EQ(entry.error(), EntryFault::unaligned);  // H-21
      } else {
        ASSERT_TRUE(entry.has_value()) << bit;
        EXPECT_EQ(*entry, (bit == 63 ? L1Entry{HostOffset(0), true} : L1Entry{HostOffset(raw), false}));
        EXPECT_EQ(encode_l1_entry(*entry), raw);
      }
    }
  }
}

// docs/format.md sections 2 and 14.3.
TEST(L1Entry, ReadsEntriesOfRealImages) {
  EXPECT_EQ(decode_l1_entry(plain_geometry, 0x8000000000040000), (L1Entry{HostOffset(0x40000), true}));
  EXPECT_EQ(decode_l1_entry(plain_geometry, 0x40000), (L1Entry{HostOffset(0x40000), false}));
  EXPECT_EQ(decode_l1_entry(plain_geometry, 0), (L1Entry{HostOffset(0), false}));
}

// docs/format.md section 6: unlike the other tables, offsets reach bit 63.
TEST(RefcountTableEntry, EachBitIsReservedOrAnOffset) {
  for (unsigned bits = min_cluster_bits; bits <= max_cluster_bits; ++bits) {
    const Geometry geometry = {3, bits, 4, false, false};
    for (unsigned bit = 0; bit < 64; ++bit) {
      const std::uint64_t raw = std::uint64_t{1} << bit;
      const auto block = decode_refcount_table_entry(geometry, raw);
      if (bit < bits) {
        ASSERT_FALSE(block.has_value()) << bit;
        EXPECT_EQ(block.error(), bit <= 8 ? EntryFault::reserved_bits : EntryFault::unaligned);
      } else {
        ASSERT_TRUE(block.has_value()) << bit;
        EXPECT_EQ(block->bytes, raw);
        EXPECT_EQ(encode_refcount_table_entry(*block), raw);
      }
    }
  }
}

// docs/format.md section 7.3.
TEST(L2Entry, ClassifiesAsTheFormatsTableSays) {
  EXPECT_EQ(decode(plain_geometry, 0), L2Entry::unallocated());
  EXPECT_EQ(decode(plain_geometry, 1), L2Entry::zero_plain());
  EXPECT_EQ(decode(plain_geometry, 0x50000), L2Entry::normal(HostOffset(0x50000), false));
  EXPECT_EQ(decode(plain_geometry, copied | 0x50000), L2Entry::normal(HostOffset(0x50000), true));
  EXPECT_EQ(decode(plain_geometry, 0x50001), L2Entry::zero_allocated(HostOffset(0x50000), false));
  EXPECT_EQ(decode(plain_geometry, copied | 0x50001), L2Entry::zero_allocated(HostOffset(0x50000), true));
  EXPECT_EQ(decode(plain_geometry, 0x4000000000050000)->kind, ClusterKind::compressed);
}

// docs/format.md section 7.3 (a) and (d).
TEST(L2Entry, OffsetZeroWithCopiedIsAClusterOnlyInADataFile) {
  EXPECT_EQ(decode(plain_geometry, copied)->kind, ClusterKind::unallocated);
  EXPECT_EQ(decode(data_file_geometry, copied), L2Entry::normal(HostOffset(0), true));
  EXPECT_EQ(decode(data_file_geometry, 0), L2Entry::unallocated());
  EXPECT_EQ(decode(data_file_geometry, copied | 1)->kind, ClusterKind::zero_plain);
  EXPECT_EQ(encode(data_file_geometry, L2Entry::normal(HostOffset(0), true)), raw_entry(copied));
  EXPECT_EQ(encode(data_file_geometry, L2Entry::zero_allocated(HostOffset(0), true)), raw_entry(copied | 1));
}

// docs/format.md H-30.
TEST(L2Entry, VersionTwoHasNoZeroFlag) {
  EXPECT_EQ(fault(version_2_geometry, 1), EntryFault::zero_flag_in_version_2);
  EXPECT_EQ(fault(version_2_geometry, 0x50001), EntryFault::zero_flag_in_version_2);
  EXPECT_EQ(decode(version_2_geometry, copied | 0x50000), L2Entry::normal(HostOffset(0x50000), true));
}

// docs/format.md section 7.2, I-19, H-22.
TEST(L2Entry, EachBitOfAStandardEntryIsChecked) {
  for (const Geometry& geometry : all_geometries()) {
    for (unsigned bit = 0; bit < 62; ++bit) {
      // On top of an aligned offset, so that the inline path and the other one both see the bit.
      for (const std::uint64_t base : {std::uint64_t{0}, geometry.cluster_size_bytes(), copied | (copied >> 8)}) {
        const std::uint64_t raw = base | std::uint64_t{1} << bit;
        const auto entry = decode(geometry, raw);
        if ((bit >= 1 && bit <= 8) || bit >= 56) {
          ASSERT_FALSE(entry.has_value()) << bit;
          EXPECT_EQ(entry.error(), EntryFault::reserved_bits);
        } else if (bit >= 9 && bit < geometry.cluster_bits) {
          ASSERT_FALSE(entry.has_value()) << bit;
          EXPECT_EQ(entry.error(), EntryFault::unaligned);
        } else if (bit == 0 && (geometry.version == 2 || geometry.extended_l2)) {
          ASSERT_FALSE(entry.has_value()) << bit;
          EXPECT_EQ(entry.error(),
                    geometry.extended_l2 ? EntryFault::zero_flag_with_extended_l2 : EntryFault::zero_flag_in_version_2);
        } else {
          ASSERT_TRUE(entry.has_value()) << bit;
          EXPECT_EQ(encode(geometry, *entry), raw_entry(raw));
        }
      }
    }
  }
}

// docs/format.md section 8.1, the table of real entries.
TEST(CompressedEntry, ReadsTheFormatsExamplesForEachClusterSize) {
  struct Row {
    unsigned cluster_bits;
    std::uint64_t raw, offset, additional_sectors;
  };
  for (const Row& row : {Row{9, 0x4000000000000a00, 0xa00, 0}, Row{12, 0x4800000000005000, 0x5000, 2},
                         Row{14, 0x4800000000014000, 0x14000, 8}, Row{16, 0x4800000000050000, 0x50000, 32},
                         Row{17, 0x48000000000a0000, 0xa0000, 64}, Row{20, 0x4808000000500000, 0x500000, 514},
                         Row{21, 0x4808000000a00000, 0xa00000, 1028}}) {
    const Geometry geometry = {3, row.cluster_bits, 4, false, false};
    const CompressedExtent extent = {HostOffset(row.offset), 512 * (row.additional_sectors + 1)};
    EXPECT_EQ(decode(geometry, row.raw), L2Entry::from_compressed(extent));
    EXPECT_EQ(encode(geometry, L2Entry::from_compressed(extent)), raw_entry(row.raw));
  }
}

// docs/format.md section 8.2: extents that start and end anywhere.
TEST(CompressedEntry, ReadsAndMakesTheFormatsPackedExtents) {
  struct Row {
    std::uint64_t raw, offset, available_bytes, payload_bytes;
  };
  for (const Row& row : {Row{0x4500000000050000, 0x50000, 10752, 10262}, Row{0x4ec0000000052816, 0x52816, 30698, 30228},
                         Row{0x5380000000059e2a, 0x59e2a, 40406, 40198}, Row{0x5fc0000000063b30, 0x63b30, 65232, 65095},
                         Row{0x4040000000073977, 0x73977, 649, 347}, Row{0x49c0000000073ad2, 0x73ad2, 20270, 20253}}) {
    const CompressedExtent extent = {HostOffset(row.offset), row.available_bytes};
    EXPECT_EQ(decode(plain_geometry, row.raw), L2Entry::from_compressed(extent));
    EXPECT_EQ(make_compressed_extent(plain_geometry, extent.offset, row.payload_bytes), extent);
    EXPECT_EQ(encode(plain_geometry, L2Entry::from_compressed(extent)), raw_entry(row.raw));
  }
}

// docs/format.md I-20, H-36, section 9.
TEST(CompressedEntry, RefusesWhatACompressedEntryCannotBe) {
  EXPECT_EQ(fault(plain_geometry, 0xc500000000050000), EntryFault::copied_on_compressed);
  EXPECT_EQ(fault(data_file_geometry, 0x4500000000050000), EntryFault::compressed_with_data_file);
  EXPECT_EQ(fault(extended_data_file_geometry, 0x4500000000050000), EntryFault::compressed_with_data_file);
  EXPECT_EQ(fault(extended_geometry, 0x4500000000050000, 1), EntryFault::second_word_not_zero);
  EXPECT_EQ(decode(extended_geometry, 0x4500000000050000)->compressed, (CompressedExtent{HostOffset(0x50000), 10752}));
}

// docs/format.md section 21: the largest offset is accepted, the next one is not.
TEST(CompressedEntry, OffsetsEndAtTheLimitForEveryClusterSize) {
  for (unsigned bits = min_cluster_bits; bits <= max_cluster_bits; ++bits) {
    const Geometry geometry = {3, bits, 4, false, false};
    const HostOffset limit(geometry.compressed_offset_limit());
    const HostOffset last(limit.bytes - 1);
    ASSERT_EQ(make_compressed_extent(geometry, last, 1), (CompressedExtent{last, 1}));
    EXPECT_EQ(make_compressed_extent(geometry, limit, 1).error(), EntryFault::compressed_offset_too_large);
    EXPECT_EQ(decode(geometry, entry_compressed_flag | last.bytes)->compressed.offset, last);
    if (bits < 14) {
      EXPECT_EQ(fault(geometry, entry_compressed_flag | limit.bytes), EntryFault::compressed_offset_too_large);
    }
  }
}

// docs/format.md H-35: n at its maximum is legal.
TEST(CompressedEntry, LengthsReachTwoClustersForEveryClusterSize) {
  for (unsigned bits = min_cluster_bits; bits <= max_cluster_bits; ++bits) {
    const Geometry geometry = {3, bits, 4, false, false};
    const std::uint64_t longest = 2 * geometry.cluster_size_bytes();
    for (const std::uint64_t in_sector : {0u, 1u, 511u}) {
      const HostOffset offset(geometry.cluster_size_bytes() + in_sector);
      const CompressedExtent extent = {offset, longest - in_sector};
      EXPECT_EQ(make_compressed_extent(geometry, offset, longest - in_sector), extent);
      EXPECT_EQ(make_compressed_extent(geometry, offset, longest - in_sector + 1).error(),
                EntryFault::compressed_length_invalid);
      EXPECT_EQ(make_compressed_extent(geometry, offset, 0).error(), EntryFault::compressed_length_invalid);
      const RawL2Entry raw = encode(geometry, L2Entry::from_compressed(extent));
      EXPECT_EQ(decode_l2_entry(geometry, raw.data()), L2Entry::from_compressed(extent));
    }
  }
}

TEST(CompressedEntry, TheExtentCoversItsPayloadAndEndsWithItsLastSector) {
  std::mt19937_64 random(3);
  for (unsigned round = 0; round < 20000; ++round) {
    const Geometry geometry = {3, min_cluster_bits + round % 13, 4, false, false};
    const HostOffset offset(random() % geometry.compressed_offset_limit());
    const std::uint64_t payload = 1 + random() % geometry.cluster_size_bytes();
    const auto extent = make_compressed_extent(geometry, offset, payload);
    ASSERT_TRUE(extent.has_value());
    EXPECT_GE(extent->length_bytes, payload);
    EXPECT_LT(extent->length_bytes, payload + 512);
    EXPECT_EQ((extent->offset + extent->length_bytes).bytes % 512, 0u);
    const RawL2Entry raw = encode(geometry, L2Entry::from_compressed(*extent));
    EXPECT_EQ(decode_l2_entry(geometry, raw.data()), L2Entry::from_compressed(*extent));
  }
}

// docs/format.md section 9, the worked table.
TEST(ExtendedL2Entry, ReadsTheFormatsExamples) {
  struct Row {
    std::uint64_t first, second;
    L2Entry expected;
  };
  const HostOffset host(0x50000);
  const Row rows[] = {
      {copied | 0x50000, 0x0000000000000003, L2Entry::with_subclusters(host, true, {3, 0})},
      {copied | 0x60000, 0x0000000000000020, L2Entry::with_subclusters(HostOffset(0x60000), true, {0x20, 0})},
      {copied | 0x50000, 0x0000003c00000003, L2Entry::with_subclusters(host, true, {3, 0x3c})},
      {copied | 0x50000, 0xffffffff00000000, L2Entry::zero_allocated(host, true)},
      {0, 0xffffffff00000000, L2Entry::zero_plain()},
      {0, 0x0000000100000000, L2Entry::without_host(1)},
      {copied | 0x50000, 0, L2Entry::with_subclusters(host, true, {0, 0})},
      {copied | 0x50000, 0x00000000ffffffff, L2Entry::normal(host, true)},
      {0, 0, L2Entry::unallocated()},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(decode(extended_geometry, row.first, row.second), row.expected);
    EXPECT_EQ(encode(extended_geometry, row.expected), raw_entry(row.first, row.second));
  }
}

TEST(ExtendedL2Entry, KindTellsWhetherThereIsAHostClusterAndWhetherAllIsZero) {
  EXPECT_EQ(decode(extended_geometry, 0x50000, 0)->kind, ClusterKind::normal);
  EXPECT_EQ(decode(extended_geometry, 0x50000, 0x7fffffff'00000000)->kind, ClusterKind::normal);
  EXPECT_EQ(decode(extended_geometry, 0x50000, 0xffffffff'00000000)->kind, ClusterKind::zero_allocated);
  EXPECT_EQ(decode(extended_geometry, 0, 0x7fffffff'00000000)->kind, ClusterKind::unallocated);
  EXPECT_EQ(decode(extended_geometry, 0, 0xffffffff'00000000)->kind, ClusterKind::zero_plain);
  EXPECT_FALSE(decode(extended_geometry, 0, 0x7fffffff'00000000)->has_host_cluster());
  EXPECT_TRUE(decode(extended_geometry, 0x50000, 0)->has_host_cluster());
}

// docs/format.md H-31, I-21; the whole bitmap counts.
TEST(ExtendedL2Entry, RefusesOverlapAndAllocationWithoutOffsetInEachSubcluster) {
  for (unsigned i = 0; i < 32; ++i) {
    const std::uint64_t allocated = std::uint64_t{1} << i;
    EXPECT_EQ(fault(extended_geometry, 0x50000, allocated | allocated << 32), EntryFault::subcluster_overlap);
    EXPECT_EQ(fault(extended_geometry, 0, allocated), EntryFault::subcluster_without_offset);
    EXPECT_EQ(fault(extended_geometry, copied, allocated), EntryFault::subcluster_without_offset);
    EXPECT_EQ(fault(extended_data_file_geometry, 0, allocated), EntryFault::subcluster_without_offset);
    EXPECT_TRUE(decode(extended_data_file_geometry, copied, allocated).has_value());
  }
}

// docs/format.md section 9: a stray bit 0 is to be reported.
TEST(ExtendedL2Entry, RefusesTheZeroFlag) {
  EXPECT_EQ(fault(extended_geometry, 0x50001, 0), EntryFault::zero_flag_with_extended_l2);
}

TEST(SubclusterKind, ResolvesEachSubclusterOfAnyEntry) {
  const L2Entry mixed = L2Entry::with_subclusters(HostOffset(0x50000), true, {0x80000001, 0x00000006});
  EXPECT_EQ(subcluster_kind(mixed, 0), SubclusterKind::normal);
  EXPECT_EQ(subcluster_kind(mixed, 1), SubclusterKind::zero);
  EXPECT_EQ(subcluster_kind(mixed, 2), SubclusterKind::zero);
  EXPECT_EQ(subcluster_kind(mixed, 3), SubclusterKind::unallocated);
  EXPECT_EQ(subcluster_kind(mixed, 31), SubclusterKind::normal);
  // Without extended entries too.
  EXPECT_EQ(subcluster_kind(*decode(plain_geometry, 0), 0), SubclusterKind::unallocated);
  EXPECT_EQ(subcluster_kind(*decode(plain_geometry, 1), 0), SubclusterKind::zero);
  EXPECT_EQ(subcluster_kind(*decode(plain_geometry, 0x50001), 0), SubclusterKind::zero);
  EXPECT_EQ(subcluster_kind(*decode(plain_geometry, 0x50000), 0), SubclusterKind::normal);
  EXPECT_EQ(subcluster_kind(*decode(plain_geometry, 0x4500000000050000), 0), SubclusterKind::compressed);
}

TEST(SubclusterRunLength, AgreesWithCountingOneByOne) {
  std::mt19937_64 random(5);
  for (unsigned round = 0; round < 20000; ++round) {
    // Sparse, dense and uniform bitmaps.
    const auto allocated = static_cast<std::uint32_t>(round % 3 == 0 ? random() & random() : ~(random() & random()));
    const auto zero = static_cast<std::uint32_t>(round % 5 == 0 ? 0 : random()) & ~allocated;
    const L2Entry entry = L2Entry::with_subclusters(HostOffset(0x50000), false, {allocated, zero});
    for (unsigned index = 0; index < 32; ++index) {
      unsigned expected = 1;
      while (index + expected < 32 && subcluster_kind(entry, index + expected) == subcluster_kind(entry, index)) {
        ++expected;
      }
      ASSERT_EQ(subcluster_run_length(entry, index), expected) << allocated << " " << zero << " " << index;
    }
  }
  EXPECT_EQ(subcluster_run_length(L2Entry::from_compressed({HostOffset(0x50000), 512}), 3), 29u);
  EXPECT_EQ(subcluster_run_length(L2Entry::unallocated(), 0), 32u);
}

// docs/format.md I-31, H-52.
TEST(IdentityMapping, HoldsForHostClustersAtTheirGuestOffset) {
  EXPECT_TRUE(obeys_identity_mapping(L2Entry::normal(HostOffset(0x50000), true), GuestOffset(0x50000)));
  EXPECT_FALSE(obeys_identity_mapping(L2Entry::normal(HostOffset(0x50000), true), GuestOffset(0x60000)));
  EXPECT_FALSE(obeys_identity_mapping(L2Entry::zero_allocated(HostOffset(0x50000), true), GuestOffset(0)));
  EXPECT_TRUE(obeys_identity_mapping(L2Entry::zero_plain(), GuestOffset(0x60000)));
}

// Whatever decodes encodes to the same bytes, and decodes to the same entry again.
TEST(L2Entry, DecodingAndEncodingAreInverseForRandomEntries) {
  std::mt19937_64 random(11);
  const std::vector<Geometry> geometries = all_geometries();
  unsigned accepted = 0;
  for (unsigned round = 0; round < 200000; ++round) {
    const Geometry& geometry = geometries[round % geometries.size()];
    std::uint64_t first = random();
    if (random() % 8 != 0)
      first &= ~(std::uint64_t{0x3f} << 56 | 0x1fe | (geometry.cluster_mask() & ~std::uint64_t{1}));
    if (random() % 2 != 0) first &= ~entry_compressed_flag;
    if (random() % 2 != 0) first &= ~std::uint64_t{1};
    if (random() % 8 == 0) first &= ~entry_offset_mask;
    if ((first & entry_compressed_flag) != 0) first &= ~copied;
    const auto allocated = static_cast<std::uint32_t>(random());
    const auto zero = static_cast<std::uint32_t>(random()) & ~allocated;
    std::uint64_t second = std::uint64_t{zero} << 32 | allocated;
    if (!geometry.extended_l2 || (first & entry_compressed_flag) != 0 || random() % 8 == 0) second = 0;
    const auto entry = decode(geometry, first, second);
    if (!entry) continue;
    ++accepted;
    const RawL2Entry raw = encode(geometry, *entry);
    ASSERT_EQ(raw, raw_entry(first, second)) << std::hex << first << " " << second;
    ASSERT_EQ(decode_l2_entry(geometry, raw.data()), entry);
  }
  EXPECT_GT(accepted, 50000u);
}

TEST(ZeroFlag, IsFoundInAnyEntryThatIsNotCompressed) {
  const RawL2Entry none = raw_entry(copied | 0x50000, entry_compressed_flag | 0x50001);
  EXPECT_FALSE(any_zero_flag(none));
  EXPECT_FALSE(any_zero_flag({}));
  EXPECT_TRUE(any_zero_flag(raw_entry(entry_zero_flag, 0x50000)));
  EXPECT_TRUE(any_zero_flag(raw_entry(entry_compressed_flag | 0x50001, copied | 0x50000 | entry_zero_flag)));
}

TEST(L2EntryDeathTest, AnEntryThatDecodingWouldRefuseIsAnInternalError) {
  EXPECT_DEATH(encode(plain_geometry, L2Entry::normal(HostOffset(0x50200), true)), "internal error");
  EXPECT_DEATH(encode(plain_geometry, L2Entry::normal(HostOffset(max_host_offset), true)), "internal error");
  EXPECT_DEATH(encode(plain_geometry, L2Entry::normal(HostOffset(0), true)), "internal error");
  EXPECT_DEATH(encode(version_2_geometry, L2Entry::zero_plain()), "internal error");
  EXPECT_DEATH(encode(extended_geometry, L2Entry::with_subclusters(HostOffset(0x50000), true, {1, 1})),
               "internal error");
  EXPECT_DEATH(encode(plain_geometry, L2Entry::from_compressed({HostOffset(0x50001), 512})), "internal error");
}

}  // namespace
}  // namespace byre::format
