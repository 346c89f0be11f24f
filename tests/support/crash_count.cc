#include "support/crash_count.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace byre::test {

void report_crash_states(std::uint64_t count) {
  fmt::print("crash states: {}\n", count);
  const char* directory = std::getenv("BYRE_CRASH_STATES");
  if (!directory || testing::Test::HasFailure()) return;
  const auto* info = testing::UnitTest::GetInstance()->current_test_info();
  std::string name = std::string(info->test_suite_name()) + "." + info->name();
  std::ranges::replace(name, '/', '-');
  std::filesystem::create_directories(directory);
  std::ofstream file(std::filesystem::path(directory) / name);
  file << count << "\n";
}

}  // namespace byre::test
