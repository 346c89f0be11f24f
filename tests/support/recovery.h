// A crash of a dirty image, and then crashes while it is being repaired.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "support/test_image.h"

namespace byre::test {

// What an image must read as, before, during and after a repair.
struct Expected {
  std::vector<std::byte> content;
  std::optional<std::vector<std::byte>> snapshot;  // of the snapshot with the id "1"
};

// Opens the dirty image for writing on a simulated disk, which repairs it, and closes it. Crashes at moments drawn from
// the seed, and repairs what they left. Each of these images must keep its mapping and content; a repaired one must be
// without errors and not dirty. Returns what is wrong, or nothing.
std::string crash_during_repair(const std::vector<std::byte>& dirty, const TestImage& test, const Expected& expected,
                                std::uint64_t seed);

}  // namespace byre::test
