// What check says of an image in memory, for tests that expect nothing.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "byre/check/check.h"
#include "byre/storage/memory.h"
#include "byre/task/event_loop.h"

namespace byre::test {

// A line for each finding. With `data`, compressed clusters are unpacked too.
inline std::string findings_of(EventLoop& loop, ConstBytes image, bool data = true) {
  MemoryStorage storage{image};
  std::string findings;
  CheckOptions options;
  options.data = data;
  options.on_finding = [&findings](const Finding& finding) { findings += finding.text + "\n"; };
  const auto checked = loop.run(check_image(storage, options));
  EXPECT_TRUE(checked) << checked.error().message();
  return findings;
}

}  // namespace byre::test
