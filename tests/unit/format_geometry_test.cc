#include <gtest/gtest.h>

#include "format/geometry.h"

namespace byre::format {
namespace {

constexpr std::uint64_t k = 1024;

// docs/format.md section 1, the table of cluster sizes.
TEST(Geometry, MatchesTheFormatsTableOfClusterSizes) {
  struct Row {
    unsigned cluster_bits;
    std::uint64_t l2_entries, guest_bytes_per_l2, max_virtual_size, refcounts, host_bytes_per_block;
  };
  const Row rows[] = {
      {9, 64, 32 * k, 128 * k * k * k, 256, 128 * k},
      {12, 512, 2 * k * k, 8 * k * k * k * k, 2048, 8 * k * k},
      {14, 2048, 32 * k * k, 128 * k * k * k * k, 8192, 128 * k * k},
      {16, 8192, 512 * k * k, 2 * k * k * k * k * k, 32768, 2 * k * k * k},
      {17, 16384, 2 * k * k * k, 8 * k * k * k * k * k, 65536, 8 * k * k * k},
      {20, 131072, 128 * k * k * k, 512 * k * k * k * k * k, 524288, 512 * k * k * k},
      {21, 262144, 512 * k * k * k, 2 * k * k * k * k * k * k, 1048576, 2 * k * k * k * k},
  };
  for (const Row& row : rows) {
    const Geometry geometry = {3, row.cluster_bits, 4, false, false};
    EXPECT_EQ(geometry.l2_entries(), row.l2_entries);
    EXPECT_EQ(geometry.guest_bytes_per_l2(), row.guest_bytes_per_l2);
    EXPECT_EQ(geometry.guest_bytes_per_l2() * max_l1_entries, row.max_virtual_size);
    EXPECT_EQ(geometry.refcounts_per_block(), row.refcounts);
    EXPECT_EQ(geometry.host_bytes_per_refcount_block(), row.host_bytes_per_block);
    EXPECT_EQ(geometry.refcount_table_entries_per_cluster() * 8, geometry.cluster_size_bytes());
    EXPECT_LE(row.max_virtual_size, max_virtual_size_bytes);
    EXPECT_EQ(geometry.required_l1_entries(row.max_virtual_size), max_l1_entries);
    EXPECT_EQ(geometry.required_l1_entries(row.max_virtual_size + 1), max_l1_entries + 1);
    if (row.cluster_bits < min_cluster_bits_extended_l2) continue;
    const Geometry extended = {3, row.cluster_bits, 4, true, false};
    EXPECT_EQ(extended.l2_entries(), row.l2_entries / 2);
    EXPECT_EQ(extended.guest_bytes_per_l2(), row.guest_bytes_per_l2 / 2);
    EXPECT_EQ(extended.subcluster_size_bytes() * 32, extended.cluster_size_bytes());
    EXPECT_EQ(extended.l2_entry_bytes(), 16u);
  }
}

TEST(Geometry, SplitsAndRejoinsGuestOffsetsForEveryClusterSize) {
  for (unsigned bits = min_cluster_bits; bits <= max_cluster_bits; ++bits) {
    for (const bool extended : {false, true}) {
      if (extended && bits < min_cluster_bits_extended_l2) continue;
      const Geometry geometry = {3, bits, 4, extended, false};
      for (std::uint64_t at = 1; at < (std::uint64_t{1} << 61); at = at * 5 + 3) {
        const GuestOffset guest(at);
        const std::uint64_t cluster_bytes = geometry.cluster_size_bytes();
        EXPECT_EQ(geometry.l1_index(guest), at / (cluster_bytes * geometry.l2_entries()));
        EXPECT_EQ(geometry.l2_index(guest), at / cluster_bytes % geometry.l2_entries());
        EXPECT_EQ(geometry.subcluster_index(guest), extended ? at / geometry.subcluster_size_bytes() % 32 : 0u);
        EXPECT_EQ(geometry.guest_offset(geometry.l1_index(guest), geometry.l2_index(guest)) +
                      geometry.cluster_offset_in(guest),
                  guest);
        EXPECT_EQ(geometry.cluster_start(guest).bytes, at / cluster_bytes * cluster_bytes);
      }
    }
  }
}

TEST(Geometry, FindsTheRefcountOfEachHostClusterForEveryWidth) {
  for (unsigned order = 0; order <= max_refcount_order; ++order) {
    const Geometry geometry = {3, 16, order, false, false};
    EXPECT_EQ(geometry.refcounts_per_block(), 65536u * 8 / geometry.refcount_bits());
    const std::uint64_t cluster = geometry.refcounts_per_block() * 7 + 5;
    EXPECT_EQ(geometry.refcount_table_index(cluster), 7u);
    EXPECT_EQ(geometry.refcount_block_index(cluster), 5u);
    const HostOffset host = geometry.host_cluster(cluster) + 17;
    EXPECT_EQ(geometry.refcount_table_index(host), 7u);
    EXPECT_EQ(geometry.refcount_block_index(host), 5u);
  }
}

// docs/format.md section 14.2.
TEST(Geometry, PlacesTheVmStateBehindTheDisksLastL1Entry) {
  const Geometry plain = {3, 16, 4, false, false};
  EXPECT_EQ(plain.vm_state_start(k * k).bytes, 512 * k * k);
  EXPECT_EQ(plain.vm_state_start(512 * k * k).bytes, 512 * k * k);
  EXPECT_EQ(plain.vm_state_start(513 * k * k).bytes, k * k * k);
  EXPECT_EQ(plain.vm_state_start(0).bytes, 0u);
  EXPECT_EQ((Geometry{3, 16, 4, true, false}.vm_state_start(k * k).bytes), 256 * k * k);
  EXPECT_EQ((Geometry{3, 12, 4, false, false}.vm_state_start(k * k).bytes), 2 * k * k);
}

// docs/format.md section 8.1.
TEST(Geometry, LimitsCompressedOffsetsByDescriptorAndFormat) {
  struct Row {
    unsigned cluster_bits, offset_bits, limit_bits, length_bits;
  };
  for (const Row& row : {Row{9, 61, 56, 1}, Row{12, 58, 56, 4}, Row{14, 56, 56, 6}, Row{16, 54, 54, 8},
                         Row{17, 53, 53, 9}, Row{20, 50, 50, 12}, Row{21, 49, 49, 13}}) {
    const Geometry geometry = {3, row.cluster_bits, 4, false, false};
    EXPECT_EQ(geometry.compressed_offset_bits(), row.offset_bits);
    EXPECT_EQ(geometry.compressed_offset_limit(), std::uint64_t{1} << row.limit_bits);
    EXPECT_EQ(geometry.max_compressed_sectors(), std::uint64_t{1} << row.length_bits);
  }
}

}  // namespace
}  // namespace byre::format
