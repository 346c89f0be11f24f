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

}  // namespace
}  // namespace byre::meta
