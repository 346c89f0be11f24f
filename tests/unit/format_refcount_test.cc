#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "format/refcount.h"
#include "unit/format_samples.h"

namespace byre::format {
namespace {

constexpr std::size_t block_bytes = 512;

// docs/format.md section 6: clusters 0..7 counted once, for every width.
TEST(Refcount, StoresCountsAsOtherToolsDo) {
  const std::string_view expected[] = {"ff",
                                       "55 55",
                                       "11 11 11 11",
                                       "01 01 01 01 01 01 01 01",
                                       "00 01 00 01 00 01 00 01 00 01 00 01 00 01 00 01",
                                       "00000001 00000001 00000001 00000001 00000001 00000001 00000001 00000001",
                                       "0000000000000001 0000000000000001 0000000000000001 0000000000000001"
                                       "0000000000000001 0000000000000001 0000000000000001 0000000000000001"};
  for (unsigned order = 0; order <= 6; ++order) {
    std::vector<std::byte> block(block_bytes);
    for (unsigned index = 0; index < 8; ++index) store_refcount(block.data(), order, index, 1);
    std::vector<std::byte> all = from_hex(expected[order]);
    EXPECT_EQ(all.size(), std::size_t{1} << order);
    all.resize(block_bytes);
    EXPECT_EQ(block, all) << "order " << order;
  }
}

TEST(Refcount, FillsBytesFromTheLeastSignificantBit) {
  std::vector<std::byte> block(block_bytes);
  const unsigned counts[] = {1, 1, 1, 1, 2, 2, 2, 2, 1, 1};
  for (unsigned index = 0; index < 10; ++index) store_refcount(block.data(), 1, index, counts[index]);
  block.resize(4);
  EXPECT_EQ(block, from_hex("55 aa 05 00"));
}

TEST(Refcount, MaximumIsTheWidthsLargestValue) {
  const std::uint64_t expected[] = {1, 3, 15, 255, 65535, 0xffff'ffff, ~std::uint64_t{0}};
  for (unsigned order = 0; order <= 6; ++order) EXPECT_EQ(max_refcount(order), expected[order]);
}

TEST(Refcount, EveryPositionHoldsItsOwnValueForEveryWidth) {
  for (unsigned order = 0; order <= 6; ++order) {
    const std::uint64_t count = block_bytes * 8 >> order;
    std::mt19937_64 random(order);
    std::vector<std::uint64_t> model(count);
    std::vector<std::byte> block(block_bytes);
    // Twice, so that old values are replaced too.
    for (std::uint64_t step = 0; step < 2 * count; ++step) {
      model[step % count] = random() & max_refcount(order);
      store_refcount(block.data(), order, step % count, model[step % count]);
    }
    for (std::uint64_t index = 0; index < count; ++index) {
      ASSERT_EQ(load_refcount(block.data(), order, index), model[index]) << "order " << order << " index " << index;
    }
  }
}

TEST(Refcount, StoringTouchesNoNeighbour) {
  for (unsigned order = 0; order <= 6; ++order) {
    const std::uint64_t count = block_bytes * 8 >> order;
    for (const std::byte background : {std::byte{0x00}, std::byte{0xff}}) {
      const std::uint64_t value = background == std::byte{0} ? max_refcount(order) : 0;
      for (std::uint64_t index = 0; index < count; ++index) {
        std::vector<std::byte> block(block_bytes, background);
        const std::uint64_t neighbour = load_refcount(block.data(), order, index);
        store_refcount(block.data(), order, index, value);
        EXPECT_EQ(load_refcount(block.data(), order, index), value);
        store_refcount(block.data(), order, index, neighbour);
        ASSERT_EQ(block, std::vector<std::byte>(block_bytes, background)) << "order " << order << " index " << index;
      }
    }
  }
}

TEST(RefcountDeathTest, AValueThatDoesNotFitIsAnInternalError) {
  std::vector<std::byte> block(block_bytes);
  EXPECT_DEATH(store_refcount(block.data(), 1, 0, 4), "internal error");
}

TEST(FindZeroRefcount, FindsASingleZeroAtEveryPositionForEveryWidth) {
  for (unsigned order = 0; order <= 6; ++order) {
    const std::uint64_t count = block_bytes * 8 >> order;
    // A count whose only set bit is its lowest, and one that is all ones, are the hardest neighbours.
    for (const std::uint64_t filler : {std::uint64_t{1}, max_refcount(order)}) {
      std::vector<std::byte> block(block_bytes);
      for (std::uint64_t index = 0; index < count; ++index) store_refcount(block.data(), order, index, filler);
      ASSERT_EQ(find_zero_refcount(block.data(), order, 0, count), count);
      for (std::uint64_t index = 0; index < count; ++index) {
        store_refcount(block.data(), order, index, 0);
        ASSERT_EQ(find_zero_refcount(block.data(), order, 0, count), index) << "order " << order;
        ASSERT_EQ(find_zero_refcount(block.data(), order, index, count), index) << "order " << order;
        ASSERT_EQ(find_zero_refcount(block.data(), order, index + 1, count), count) << "order " << order;
        ASSERT_EQ(find_zero_refcount(block.data(), order, 0, index), index) << "order " << order;
        store_refcount(block.data(), order, index, filler);
      }
    }
  }
}

TEST(FindZeroRefcount, AgreesWithASimpleLoopOnRandomBlocksAndRanges) {
  std::mt19937_64 random(7);
  for (unsigned round = 0; round < 20000; ++round) {
    const unsigned order = round % 7;
    const std::uint64_t count = block_bytes * 8 >> order;
    std::vector<std::byte> block(block_bytes);
    for (std::byte& byte : block) byte = static_cast<std::byte>(random() | random() | random());
    for (unsigned i = 0; i < 3; ++i) store_refcount(block.data(), order, random() % count, 0);
    const std::uint64_t first = random() % (count + 1);
    const std::uint64_t last = first + random() % (count - first + 1);
    std::uint64_t expected = first;
    while (expected < last && load_refcount(block.data(), order, expected) != 0) ++expected;
    ASSERT_EQ(find_zero_refcount(block.data(), order, first, last), expected) << order << " " << first << " " << last;
  }
}

TEST(FindZeroRefcount, AnEmptyRangeHasNone) {
  const std::vector<std::byte> block(block_bytes);
  for (unsigned order = 0; order <= 6; ++order) {
    EXPECT_EQ(find_zero_refcount(block.data(), order, 5, 5), 5u);
    EXPECT_EQ(find_zero_refcount(block.data(), order, block_bytes * 8 >> order, block_bytes * 8 >> order),
              block_bytes * 8 >> order);
  }
}

}  // namespace
}  // namespace byre::format
