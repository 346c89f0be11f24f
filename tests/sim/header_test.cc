// Replacing the header under crashes (docs/format.md O-29): it is the old or the new one at every moment, but for the
// names of feature bits, which may be missing meanwhile.

#include <gtest/gtest.h>

#include "byre/storage/simulated.h"
#include "data/header_rewrite.h"
#include "support/crash_count.h"
#include "support/fresh_image.h"

namespace byre::test {
namespace {

format::Header comparable(format::Header header) {
  header.feature_names.reset();
  header.backing_name_offset = 0;
  return header;
}

format::FeatureNameTable some_names(std::uint64_t count) {
  format::FeatureNameTable table;
  for (std::uint64_t i = 0; i < count; ++i) {
    format::FeatureName name;
    name.kind = format::FeatureKind::compatible;
    name.bit = static_cast<unsigned>(i);
    name.name = "feature " + std::to_string(i);
    table.push_back(name);
  }
  return table;
}

format::Header drawn(format::Header header, SimulatedRandom& random) {
  header.version = random.one_in(3) ? 2 : 3;
  header.header_length =
      header.version == 2 ? format::header_length_version_2 : format::default_header_length_version_3;
  header.compatible_features = 0;
  header.refcount_order = 4;
  header.feature_names.reset();
  header.backing_format.reset();
  header.backing_name.clear();
  header.unknown_extensions.clear();
  if (header.version == 3 && random.one_in(2)) header.compatible_features = format::compatible::lazy_refcounts;
  if (header.version == 3 && !random.one_in(3)) header.feature_names = some_names(1 + random.below(12));
  if (!random.one_in(3)) {
    header.backing_name = std::string(1 + random.below(random.one_in(3) ? 1000 : 60), 'a');
    for (char& letter : header.backing_name) letter = static_cast<char>('a' + random.below(26));
    if (!random.one_in(4)) header.backing_format = random.one_in(2) ? "raw" : "qcow2";
  }
  if (random.one_in(4)) {
    header.unknown_extensions.push_back({0x12345678, std::vector<std::byte>(random.below(60), std::byte{7})});
  }
  return header;
}

void store(std::vector<std::byte>& image, const format::Header& header) {
  const auto bytes = format::encode_header(header);
  if (!bytes) return;
  std::fill(image.begin(), image.begin() + 512, std::byte{0});
  std::ranges::fill(std::span(image).first(header.geometry().cluster_size_bytes()), std::byte{0});
  std::ranges::copy(*bytes, image.begin());
}

struct Replacing {
  std::uint64_t crash_states = 0;
  std::uint64_t replaced = 0;
};

Replacing replace_once(std::uint64_t seed) {
  SimulatedRandom random(seed);
  FreshImageOptions options;
  options.geometry.cluster_bits = static_cast<unsigned>(9 + random.below(5));
  std::vector<std::byte> image = fresh_image(options);
  auto fresh = format::decode_header(image, image.size(), format::HeaderUse::write);
  store(image, drawn(*fresh, random));
  const auto now = format::decode_header(image, image.size(), format::HeaderUse::write);
  EXPECT_TRUE(now.has_value()) << "seed " << seed;
  const format::Header next = drawn(*now, random);
  auto scheduler = std::make_unique<SimulatedScheduler>(seed);
  SimulatedScheduler& schedule = *scheduler;
  EventLoop loop(std::move(scheduler));
  SimulatedDisk disk(schedule, {}, image);
  Replacing run;
  std::vector<std::byte> crashed;
  const auto examine = [&](CrashMode mode, bool ended) {
    disk.crash_image(random, mode, crashed);
    ++run.crash_states;
    const auto found = format::decode_header(crashed, crashed.size(), format::HeaderUse::write);
    ASSERT_TRUE(found.has_value()) << "seed " << seed << ": " << found.error().message();
    const bool is_new = comparable(*found) == comparable(next);
    EXPECT_TRUE(is_new || (!ended && comparable(*found) == comparable(*now))) << "seed " << seed;
  };
  schedule.set_before_pick([&] {
    for (int i = 0; i < 4; ++i) examine(CrashMode::random_subset, false);
  });
  const auto done = loop.run(replace_header(disk, *now, next));
  schedule.set_before_pick(nullptr);
  if (!done) {
    EXPECT_EQ(done.error().code(), ErrorCode::no_space) << "seed " << seed << ": " << done.error().message();
    EXPECT_EQ(disk.running_image(), image) << "seed " << seed << ": refused, but something was written";
    return run;
  }
  examine(CrashMode::nothing, true);
  run.replaced = 1;
  return run;
}

TEST(HeaderRewrite, EveryCrashPointLeavesTheOldOrTheNewHeader) {
  Replacing all;
  for (std::uint64_t seed = 8'000'000; seed < 8'001'500 && !HasFailure(); ++seed) {
    const Replacing run = replace_once(seed);
    all.crash_states += run.crash_states;
    all.replaced += run.replaced;
  }
  EXPECT_GT(all.replaced, 900U);
  report_crash_states(all.crash_states);
}

}  // namespace
}  // namespace byre::test
