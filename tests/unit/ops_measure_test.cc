// Size estimates against the reference values of docs/format.md C-18.

#include <gtest/gtest.h>

#include "byre/ops/measure.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"
#include "ops/measure_options.h"

namespace byre {
namespace {

struct Case {
  std::uint64_t size_bytes;
  const char* options;
  std::uint64_t required_bytes;
  std::uint64_t fully_allocated_bytes;
};

Measurement measure(std::uint64_t size_bytes, const char* text, const char* format = "qcow2") {
  ops::OptionList list;
  if (*text != 0) {
    EXPECT_TRUE(list.add(text));
  }
  const auto target = ops::parse_measure_options(format, list);
  EXPECT_TRUE(target.has_value());
  const auto result = measure_size(size_bytes, *target);
  EXPECT_TRUE(result.has_value());
  return result.value_or(Measurement());
}

TEST(MeasureTest, GivesTheReferenceValues) {
  const std::uint64_t gibibyte = std::uint64_t{1} << 30;
  const Case cases[] = {
      {0, "", 196608, 196608},
      {gibibyte, "", 393216, 1074135040},
      {1024 * gibibyte, "refcount_bits=64", 268697600, 1099780325376},
      {1024 * gibibyte, "extended_l2=on", 302252032, 1099813879808},
      {1 << 20, "encrypt.format=luks", 2424832, 3473408},
      {gibibyte, "preallocation=full", 1074135040, 1074135040},
      {1'000'001, "", 327680, 1376256},
  };
  for (const Case& expected : cases) {
    const Measurement result = measure(expected.size_bytes, expected.options);
    EXPECT_EQ(result.required_bytes, expected.required_bytes) << expected.options;
    EXPECT_EQ(result.fully_allocated_bytes, expected.fully_allocated_bytes) << expected.options;
    EXPECT_EQ(result.bitmaps_bytes, std::nullopt);
  }
}

TEST(MeasureTest, RawIsTheSizeRoundedToSectors) { EXPECT_EQ(measure(1'000'001, "", "raw").required_bytes, 1'000'448u); }

TEST(MeasureTest, RefusesWhatCannotBeCreated) {
  ops::OptionList list;
  ASSERT_TRUE(list.add("cluster_size=512"));
  const auto target = ops::parse_measure_options("qcow2", list);
  EXPECT_FALSE(measure_size(std::uint64_t{200} << 30, *target).has_value());
}

TEST(MeasureTest, CountsEachTargetClusterWithDataOnce) {
  auto loop = std::move(*make_event_loop(IoMode::threads));
  auto storage = std::make_unique<MemoryStorage>(8 << 20);
  const std::vector<std::byte> bytes(1 << 16, std::byte{1});
  // Two stretches of data in the first 2 MiB, one across the border behind them.
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1} << 20, (std::uint64_t{4} << 20) - (1 << 15)}) {
    ASSERT_TRUE(loop->run(write_bytes(*storage, offset, bytes)));
  }
  OpenOptions options;
  options.format = "raw";
  auto disk = loop->run(open_disk(std::move(storage), options));
  ASSERT_TRUE(disk.has_value());
  MeasureTarget target;
  target.options.cluster_size_bytes = 2 << 20;
  const auto result = loop->run(measure_disk(**disk, target));
  ASSERT_TRUE(result.has_value());
  // Header, refcount table, refcount block, L1, L2; and the data clusters 0, 1 and 2.
  EXPECT_EQ(result->required_bytes, (5u + 3u) << 21);
  EXPECT_EQ(result->fully_allocated_bytes, (5u + 4u) << 21);
  EXPECT_EQ(result->bitmaps_bytes, std::nullopt);
}

}  // namespace
}  // namespace byre
