// Messages grow outwards (byre/base/error.h).

#include "byre/base/error.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

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

TEST(ErrorContext, TheFileIsTheInnermostAndItsNameIsEscapedInTheMessageOnly) {
  const Error plain(ErrorCode::io, "read of 1 byte at 2");
  EXPECT_EQ(plain.file(), "");
  Error error = Error(plain).in_file("base\n.qcow2");
  EXPECT_EQ(error.file(), "base\n.qcow2");
  EXPECT_EQ(error.message(), "base\\x0a.qcow2: read of 1 byte at 2");
  error = std::move(error).in_file("base\n.qcow2").in_file("top.qcow2").with_remark("the target is gone");
  EXPECT_EQ(error.file(), "base\n.qcow2");
  EXPECT_EQ(error.message(), "top.qcow2: base\\x0a.qcow2: read of 1 byte at 2; the target is gone");
}

// The values are consecutive; docs/errors.md and tests/cli/errors_are_json.py hold the names.
TEST(ErrorCodes, HaveNamesOfTheirOwnInLowerCaseWithHyphens) {
  std::set<std::string_view> names;
  for (int value = 0; value <= static_cast<int>(ErrorCode::cancelled); ++value) {
    const std::string_view name = error_code_name(static_cast<ErrorCode>(value));
    EXPECT_TRUE(names.insert(name).second) << name << " is the name of two";
    EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz-"), std::string_view::npos) << name;
  }
}

}  // namespace
}  // namespace byre
