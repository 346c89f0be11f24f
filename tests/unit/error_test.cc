// Messages grow outwards (byre/base/error.h).

#include "byre/base/error.h"

#include <gtest/gtest.h>

namespace byre {
namespace {

TEST(ErrorContext, IsPutInFrontOnce) {
  Error error(ErrorCode::io, "write of 1 byte at 2: No space left on device");
  error = std::move(error).with_context("a.qcow2");
  EXPECT_EQ(error.message(), "a.qcow2: write of 1 byte at 2: No space left on device");
  error = std::move(error).with_context("a.qcow2");
  EXPECT_EQ(error.message(), "a.qcow2: write of 1 byte at 2: No space left on device");
  error = std::move(error).with_context("b.qcow2");
  EXPECT_EQ(error.message(), "b.qcow2: a.qcow2: write of 1 byte at 2: No space left on device");
}

}  // namespace
}  // namespace byre
