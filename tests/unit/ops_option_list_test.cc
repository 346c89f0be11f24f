// The option lists of -o.

#include <gtest/gtest.h>

#include "ops/option_list.h"

namespace byre::ops {
namespace {

OptionList parse(std::string_view text) {
  OptionList list;
  EXPECT_TRUE(list.add(text).has_value());
  return list;
}

TEST(OptionListTest, SplitsAtSingleCommasAndKeepsDoubledOnesAsOne) {
  OptionList list = parse("a=1,,2,b=x=y,c=,,");
  EXPECT_EQ(list.take("a"), "1,2");
  EXPECT_EQ(list.take("b"), "x=y");
  EXPECT_EQ(list.take("c"), ",");
  EXPECT_TRUE(list.empty());
}

TEST(OptionListTest, LaterTextsReplaceEarlierValuesOfTheSameKey) {
  OptionList list = parse("a=1,b=2");
  ASSERT_TRUE(list.add("a=3").has_value());
  EXPECT_EQ(list.take("a"), "3");
  EXPECT_EQ(list.take("b"), "2");
}

TEST(OptionListTest, KeyWithoutValueMeansOn) {
  OptionList list = parse("lazy_refcounts");
  EXPECT_EQ(list.take_bool("lazy_refcounts").value(), true);
}

TEST(OptionListTest, RefusesAnItemWithoutKey) {
  OptionList list;
  EXPECT_FALSE(list.add("=1").has_value());
  EXPECT_FALSE(list.add("a=1,=2").has_value());
}

TEST(OptionListTest, RefusesEmptyListsAndLastItems) {
  OptionList list;
  EXPECT_FALSE(list.add("").has_value());
  EXPECT_FALSE(list.add("a=1,").has_value());
  EXPECT_FALSE(list.add("a=,,,").has_value());
  EXPECT_TRUE(list.add("a=,,").has_value());
}

TEST(OptionListTest, TakesAbsentOptionsAsNothing) {
  OptionList list;
  EXPECT_EQ(list.take("a"), std::nullopt);
  EXPECT_EQ(list.take_bool("a").value(), std::nullopt);
  EXPECT_EQ(list.take_size("a").value(), std::nullopt);
}

TEST(OptionListTest, ParsesTypedValuesAndNamesTheBadOnes) {
  OptionList list = parse("yes=on,no=off,size=64k,number=16");
  EXPECT_EQ(list.take_bool("yes").value(), true);
  EXPECT_EQ(list.take_bool("no").value(), false);
  EXPECT_EQ(list.take_size("size").value(), 65536u);
  EXPECT_EQ(list.take_number("number").value(), 16u);
  EXPECT_EQ(parse("number=0x10").take_number("number").value(), 16u);

  OptionList bad = parse("flag=maybe,size=1Q,number=16k");
  EXPECT_EQ(bad.take_bool("flag").error().message(), "flag=maybe: must be on or off");
  EXPECT_NE(bad.take_size("size").error().message().find("size=1Q"), std::string::npos);
  EXPECT_EQ(bad.take_number("number").error().message(), "number=16k: must be a whole number");
}

TEST(OptionListTest, NamesAnOptionThatNobodyTook) {
  OptionList list = parse("cluster_size=4k,clutser_size=8k");
  list.take("cluster_size");
  const auto left = list.expect_empty("qcow2");
  ASSERT_FALSE(left.has_value());
  EXPECT_NE(left.error().message().find("'clutser_size'"), std::string::npos);
}

TEST(OptionListTest, AsksForHelp) {
  EXPECT_TRUE(parse("help").asks_for_help());
  EXPECT_TRUE(parse("?").asks_for_help());
  EXPECT_FALSE(parse("size=1M").asks_for_help());
}

}  // namespace
}  // namespace byre::ops
