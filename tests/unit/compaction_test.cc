// The parts of compaction by themselves: which clusters are free, and where payloads go.

#include <gtest/gtest.h>

#include "byre/storage/memory.h"
#include "byre/storage/simulated.h"
#include "byre/task/event_loop.h"
#include "data/host_map.h"
#include "data/payload_packer.h"
#include "format/refcount.h"

namespace byre {
namespace {

// `used` has one character for each cluster: '#' is used. One refcount block counts them; the rest of it is free.
HostMap map_of(std::string_view used, const format::Geometry& geometry) {
  std::vector<std::byte> image(2 * geometry.cluster_size_bytes());
  for (std::size_t i = 0; i < used.size(); ++i) {
    std::byte* block = image.data() + geometry.cluster_size_bytes();
    format::store_refcount(block, geometry.refcount_order, i, used[i] == '#' ? 1 : 0);
  }
  MemoryStorage storage{ConstBytes(image)};
  EventLoop loop(std::make_unique<SimulatedScheduler>(0));
  HostMap map;
  const std::vector<std::uint64_t> table = {geometry.cluster_size_bytes(), 0};
  EXPECT_TRUE(loop.run(map.load(storage, geometry, table)));
  return map;
}

format::Geometry small() {
  format::Geometry geometry;
  geometry.cluster_bits = 10;
  return geometry;
}

constexpr std::uint64_t nowhere = ~std::uint64_t{0};

std::uint64_t taken(HostMap& map, std::uint64_t count, std::uint64_t below) {
  return map.take(count, below).value_or(nowhere);
}

TEST(HostMap, TakesTheLowestRunThatIsLongEnough) {
  HostMap map = map_of("##.#..#...#", small());
  EXPECT_EQ(map.end(), 11U);
  EXPECT_EQ(taken(map, 2, 11), 4U);
  EXPECT_EQ(taken(map, 1, 11), 2U);
  EXPECT_EQ(taken(map, 3, 9), nowhere);  // it would end behind
  EXPECT_EQ(taken(map, 3, 11), 7U);
  EXPECT_EQ(taken(map, 1, 11), nowhere);
}

TEST(HostMap, FindsWhatIsFreedBeforeWhereItLooked) {
  HostMap map = map_of("####.####", small());
  EXPECT_EQ(taken(map, 2, 9), nowhere);
  map.free(5, 1);
  EXPECT_EQ(taken(map, 2, 9), 4U);
  map.free(1, 1);
  EXPECT_EQ(taken(map, 1, 9), 1U);
  EXPECT_TRUE(map.holes().empty());
}

TEST(HostMap, LongRunsAreFoundBehindShortOnes) {
  HostMap map = map_of("#.........#............#", small());
  EXPECT_EQ(taken(map, 12, 24), 11U);
  EXPECT_EQ(taken(map, 9, 24), 1U);
}

TEST(HostMap, TheEndFollowsWhatIsUsed) {
  HostMap map = map_of("##..#", small());
  map.free(4, 1);
  EXPECT_EQ(map.end(), 2U);
  EXPECT_TRUE(map.take_at(3, 1, nowhere));
  EXPECT_FALSE(map.take_at(3, 1, nowhere));
  EXPECT_EQ(map.end(), 4U);
  EXPECT_EQ(map.holes(), (std::vector<ClusterRun>{{2, 1}}));
}

TEST(HostMap, BalanceLeavesNoMoreBehindThanIsFreeBefore) {
  EXPECT_EQ(map_of("##..##.##", small()).balance(nowhere), 6U);  // three used behind, two free before: one more
  EXPECT_EQ(map_of("####", small()).balance(nowhere), 4U);
  EXPECT_EQ(map_of("#....####", small()).balance(2), 7U);
}

TEST(HostMap, TheSparsestRunHasNothingPinned) {
  const HostMap map = map_of("#.#..##.####", small());
  EXPECT_EQ(map.sparsest(3, 12, {{0, 1}}).value_or(nowhere), 1U);
  EXPECT_EQ(map.sparsest(3, 12, {{0, 1}, {3, 1}}).value_or(nowhere), 4U);
  EXPECT_EQ(map.sparsest(3, 12, {{0, 12}}), std::nullopt);
}

std::uint64_t placed(PayloadPacker& packer, std::uint64_t offset, std::uint64_t length, std::uint64_t references = 1) {
  const auto at = packer.place({HostOffset(offset), length}, references);
  return at ? at->bytes : nowhere;
}

TEST(PayloadPacker, LaysOneBehindTheOtherAtTheSamePlaceInItsSector) {
  HostMap map = map_of("#..#.#", small());
  PayloadPacker packer(small(), map, 6);
  EXPECT_EQ(placed(packer, 9296, 432), 1024U + 80);  // 9296 lies 80 bytes behind a sector's begin
  EXPECT_EQ(placed(packer, 512 * 20, 512), 1536U);
  EXPECT_EQ(placed(packer, 512 * 21 + 10, 1014), 2048U + 10);
  EXPECT_EQ(placed(packer, 512 * 30, 512), 4096U);
  EXPECT_EQ(placed(packer, 512 * 31, 1024), nowhere);
  EXPECT_EQ(placed(packer, 512 * 31, 512), 4608U);
}

TEST(PayloadPacker, AClusterGetsNoMoreReferencesThanItsCountCanHold) {
  format::Geometry geometry = small();
  geometry.refcount_order = 1;  // at most three
  HostMap map = map_of("#...#", geometry);
  PayloadPacker packer(geometry, map, 5);
  EXPECT_EQ(placed(packer, 512 * 20, 512, 2), 1024U);
  EXPECT_EQ(placed(packer, 512 * 21, 512, 1), 1536U);
  EXPECT_EQ(placed(packer, 512 * 22, 512, 3), 2048U);
  EXPECT_EQ(placed(packer, 512 * 23, 512, 1), 3072U);
}

TEST(PayloadPacker, EntriesAreDecodedAndEncoded) {
  const format::CompressedExtent payload{HostOffset(5000), 120};
  EXPECT_EQ(decoded_payload(small(), encoded_payload(small(), payload)), payload);
}

}  // namespace
}  // namespace byre
