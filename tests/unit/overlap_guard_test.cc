#include "meta/overlap_guard.h"

#include <gtest/gtest.h>

namespace byre::meta {
namespace {

// A file is cut at the end of what is used: a cluster more stays for ever, a cluster less is lost.
TEST(OverlapGuard, EndsBehindTheLastClusterThatItKnows) {
  OverlapGuard guard;
  EXPECT_EQ(guard.end(), 0u);
  EXPECT_FALSE(guard.add(MetadataKind::header, 0, 1));
  EXPECT_EQ(guard.end(), 1u);
  EXPECT_FALSE(guard.add(MetadataKind::l2_table, 9, 1));
  EXPECT_EQ(guard.end(), 10u);
  EXPECT_FALSE(guard.add(MetadataKind::l1_table, 12, 3));
  EXPECT_EQ(guard.end(), 15u);
  guard.remove(12, 3);
  EXPECT_EQ(guard.end(), 10u);
}

// It remembers the gap in which it looked last: what comes there later counts, what goes does not.
TEST(OverlapGuard, KnowsEveryClusterOfARegionAndNoneBeside) {
  OverlapGuard guard;
  EXPECT_FALSE(guard.add(MetadataKind::header, 0, 1));
  EXPECT_FALSE(guard.add(MetadataKind::snapshot_l1_table, 20, 2));
  for (const std::uint64_t cluster : {1u, 7u, 8u, 9u, 10u, 19u, 22u}) EXPECT_FALSE(guard.at(cluster)) << cluster;
  EXPECT_FALSE(guard.add(MetadataKind::l1_table, 8, 2));
  EXPECT_EQ(guard.at(8), MetadataKind::l1_table);
  EXPECT_EQ(guard.at(9), MetadataKind::l1_table);
  for (const std::uint64_t cluster : {7u, 10u, 19u}) EXPECT_FALSE(guard.at(cluster)) << cluster;
  EXPECT_EQ(guard.at(20), MetadataKind::snapshot_l1_table);
  EXPECT_EQ(guard.at(21), MetadataKind::snapshot_l1_table);
  EXPECT_EQ(guard.at(0), MetadataKind::header);
  EXPECT_FALSE(guard.at(15));
  EXPECT_FALSE(guard.add(MetadataKind::refcount_block, 15, 1));
  EXPECT_EQ(guard.at(15), MetadataKind::refcount_block);
  guard.remove(8, 2);
  EXPECT_FALSE(guard.at(8));
  EXPECT_EQ(guard.add(MetadataKind::l2_table, 21, 1), MetadataKind::snapshot_l1_table);
}

}  // namespace
}  // namespace byre::meta
