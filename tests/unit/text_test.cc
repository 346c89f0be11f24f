#include "base/text.h"

#include <gtest/gtest.h>

namespace byre {
namespace {

// docs/format.md C-3.
TEST(ParseSize, TakesSuffixesHexAndFractionsAsQemuImgDoes) {
  EXPECT_EQ(parse_size("0"), 0u);
  EXPECT_EQ(parse_size("512"), 512u);
  EXPECT_EQ(parse_size("1b"), 1u);
  EXPECT_EQ(parse_size("64k"), 65536u);
  EXPECT_EQ(parse_size("64K"), 65536u);
  EXPECT_EQ(parse_size("1.5M"), 1572864u);
  EXPECT_EQ(parse_size("1.3k"), 1331u);
  EXPECT_EQ(parse_size("0x10k"), 16384u);
  EXPECT_EQ(parse_size("9223372036854775807"), 9223372036854775807u);
}

TEST(ParseSize, RefusesWhatIsNotASize) {
  for (const char* text :
       {"", "-1", "+1", " 1", "1 ", "k", "1kk", "1.k", "1.5", "1e3", "8E", "9223372036854775808", "0x"}) {
    EXPECT_EQ(parse_size(text), std::nullopt) << text;
  }
}

// docs/format.md H-6.
TEST(EscapeUntrusted, LeavesNothingThatATerminalObeys) {
  EXPECT_EQ(escape_untrusted("disk-ä.qcow2"), "disk-ä.qcow2");
  EXPECT_EQ(escape_untrusted("\x1b[31m"), "\\x1b[31m");
  EXPECT_EQ(escape_untrusted(std::string_view("a\0b\n", 4)), "a\\x00b\\x0a");
  EXPECT_EQ(escape_untrusted("\xc2\x9b"), "\\xc2\\x9b");
  EXPECT_EQ(escape_untrusted("\xe2\x80\xae"), "\\xe2\\x80\\xae");
  EXPECT_EQ(escape_untrusted("\xff"), "\\xff");
  EXPECT_EQ(escape_untrusted(std::string(300, 'x')).size(), 259u);
}

TEST(HumanSize, PrintsThreeDigits) {
  EXPECT_EQ(human_size(0), "0 B");
  EXPECT_EQ(human_size(65536), "64 KiB");
  EXPECT_EQ(human_size(1610612736), "1.5 GiB");
  EXPECT_EQ(human_size(1000), "0.977 KiB");
}

}  // namespace
}  // namespace byre
