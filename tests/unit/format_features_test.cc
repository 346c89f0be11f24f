#include <gtest/gtest.h>

#include "format/features.h"
#include "unit/format_samples.h"

namespace byre::format {
namespace {

std::vector<std::byte> record(unsigned kind, unsigned bit, std::string_view name) {
  std::vector<std::byte> bytes = {static_cast<std::byte>(kind), static_cast<std::byte>(bit)};
  const std::vector<std::byte> text = bytes_of(name);
  bytes.insert(bytes.end(), text.begin(), text.end());
  bytes.resize(48);
  return bytes;
}

// docs/format.md section 5.
TEST(FeatureNames, TheStandardTableHasEightRecordsInTheUsualOrder) {
  std::vector<std::byte> expected;
  for (const std::vector<std::byte>& part :
       {record(0, 0, "dirty bit"), record(0, 1, "corrupt bit"), record(0, 2, "external data file"),
        record(0, 3, "compression type"), record(0, 4, "extended L2 entries"), record(1, 0, "lazy refcounts"),
        record(2, 0, "bitmaps"), record(2, 1, "raw external data")}) {
    expected.insert(expected.end(), part.begin(), part.end());
  }
  EXPECT_EQ(encode_feature_names(standard_feature_names()), expected);
  EXPECT_EQ(decode_feature_names(expected), standard_feature_names());
}

// docs/format.md section 3.6.
TEST(FeatureNames, ANewHeaderHasNoneIfTheyWouldCrowdOutTheBackingName) {
  EXPECT_EQ(default_feature_names(3, 9), std::nullopt);
  EXPECT_EQ(default_feature_names(3, 12), std::nullopt);
  EXPECT_EQ(default_feature_names(3, 13), standard_feature_names());
  EXPECT_EQ(default_feature_names(2, 16), std::nullopt);
}

TEST(FeatureNames, ANameOf46BytesHasNoTerminator) {
  const std::string name(46, 'n');
  const FeatureNameTable table = {{FeatureKind::compatible, 63, name}};
  EXPECT_EQ(decode_feature_names(record(1, 63, name)), table);
  EXPECT_EQ(encode_feature_names(table), record(1, 63, name));
}

// docs/format.md H-38 and section 5 (a trailing fragment is ignored).
TEST(FeatureNames, RecordsThatNameNoPossibleBitAreLeftOut) {
  std::vector<std::byte> data = record(0, 64, "too high");
  for (const std::vector<std::byte>& part :
       {record(3, 1, "no such kind"), record(0, 255, "x"), record(0, 63, "kept")}) {
    data.insert(data.end(), part.begin(), part.end());
  }
  data.resize(data.size() + 47, std::byte{0});
  EXPECT_EQ(decode_feature_names(data), (FeatureNameTable{{FeatureKind::incompatible, 63, "kept"}}));
}

// docs/format.md H-6, H-38.
TEST(DescribeUnknownFeatures, NamesWhatTheTableNamesAndEscapesIt) {
  const FeatureNameTable table = {{FeatureKind::compatible, 7, "of another kind"},
                                  {FeatureKind::incompatible, 7, "frob\x1b[2J"},
                                  {FeatureKind::incompatible, 63, "last"}};
  EXPECT_EQ(describe_unknown_features(std::uint64_t{1} << 63 | 1u << 7 | 1u << 5, table),
            "bit 5, bit 7 ('frob\\x1b[2J'), bit 63 ('last')");
}

}  // namespace
}  // namespace byre::format
