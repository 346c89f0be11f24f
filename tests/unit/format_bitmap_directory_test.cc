#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "format/bitmap_directory.h"
#include "unit/format_samples.h"

namespace byre::format {
namespace {

constexpr Geometry geometry = {3, 16, 4, false, false};

BitmapEntry sample(std::string name) {
  BitmapEntry entry;
  entry.table = HostOffset(0x50000);
  entry.table_entries = 1;
  entry.auto_record = true;
  entry.name = std::move(name);
  return entry;
}

Result<std::vector<BitmapEntry>> decode(const std::vector<std::byte>& directory, std::uint32_t count = 1,
                                        std::uint64_t file_size_bytes = huge_file_bytes) {
  const BitmapsExtension extension = {count, 0, directory.size(), HostOffset(0x40000)};
  return decode_bitmap_directory(directory, extension, geometry, file_size_bytes);
}

// Changes a directory of one bitmap named "bitmap-0" and expects a refusal.
void expect_refused(const std::function<void(std::vector<std::byte>&)>& change) {
  std::vector<std::byte> directory = encode_bitmap_directory({sample("bitmap-0")}, geometry).value();
  ASSERT_TRUE(decode(directory).has_value());
  change(directory);
  const auto result = decode(directory);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code(), ErrorCode::corrupt);
}

TEST(BitmapsExtension, HoldsCountSizeAndOffset) {
  const std::vector<std::byte> data = from_hex("00000002 00000000 0000000000000040 0000000000090000");
  const BitmapsExtension extension = {2, 0, 64, HostOffset(0x90000)};
  EXPECT_EQ(decode_bitmaps_extension(data).value(), extension);
  EXPECT_EQ(encode_bitmaps_extension(extension), data);
  EXPECT_EQ(decode_bitmaps_extension(ConstBytes(data).first(23)).error().code(), ErrorCode::corrupt);
  EXPECT_EQ(decode_bitmaps_extension({}).error().code(), ErrorCode::corrupt);
}

// docs/format.md H-45, section 21.
TEST(BitmapsExtension, EachFieldHasItsLimits) {
  const auto check = [](BitmapsExtension extension, std::uint64_t file_size_bytes = huge_file_bytes) {
    return check_bitmaps_extension(extension, geometry, file_size_bytes).has_value();
  };
  const HostOffset at(0x40000);
  EXPECT_TRUE(check({1, 0, 1, at}, 0x40001));
  EXPECT_FALSE(check({1, 0, 1, at}, 0x40000));
  EXPECT_FALSE(check({0, 0, 32, at}));
  EXPECT_TRUE(check({65535, 0, 32, at}));
  EXPECT_FALSE(check({65536, 0, 32, at}));
  EXPECT_FALSE(check({1, 1, 32, at}));
  EXPECT_FALSE(check({1, 0, 0, at}));
  EXPECT_TRUE(check({1, 0, 67107840, at}));
  EXPECT_FALSE(check({1, 0, 67107841, at}));
  EXPECT_FALSE(check({1, 0, ~std::uint64_t{0}, at}));
  EXPECT_FALSE(check({1, 0, 32, HostOffset(0)}));
  EXPECT_FALSE(check({1, 0, 32, HostOffset(0x40200)}));
  EXPECT_FALSE(check({1, 0, 32, HostOffset(std::uint64_t{1} << 63)}));
}

TEST(BitmapDirectory, WritesEntriesBackToBackPaddedToEight) {
  BitmapEntry second = sample("nine-byte");
  second.in_use = true;
  second.auto_record = false;
  second.granularity_bits = 9;
  second.table = HostOffset(0x60000);
  const std::vector<std::byte> expected = from_hex(
      "0000000000050000 00000001 00000002 01 10 0001 00000000 61 00000000000000"
      "0000000000060000 00000001 00000001 01 09 0009 00000000 6e696e652d62797465 00000000000000");
  const std::vector<BitmapEntry> entries = {sample("a"), second};
  EXPECT_EQ(encode_bitmap_directory(entries, geometry).value(), expected);
  EXPECT_EQ(decode(expected, 2).value(), entries);
}

// docs/format.md section 15: unknown extra data is preserved, with or without the flag that makes it harmless.
TEST(BitmapDirectory, KeepsUnknownExtraData) {
  for (const bool compatible : {false, true}) {
    BitmapEntry entry = sample("b");
    entry.extra_data = from_hex("01020304050607");
    entry.extra_data_compatible = compatible;
    const std::vector<std::byte> directory = encode_bitmap_directory({entry}, geometry).value();
    EXPECT_EQ(directory.size(), 32u);
    EXPECT_EQ(decode(directory).value(), std::vector{entry});
  }
}

// docs/format.md H-45: the entries fill the directory exactly.
TEST(BitmapDirectory, RefusesATruncatedOrTooLongDirectory) {
  const std::vector<std::byte> directory =
      encode_bitmap_directory({sample("first"), sample("second")}, geometry).value();
  for (std::size_t length = 0; length < directory.size(); ++length) {
    const std::vector<std::byte> part(directory.begin(), directory.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_FALSE(decode(part, 2).has_value()) << length;
  }
  EXPECT_FALSE(decode(directory, 1).has_value());
  EXPECT_FALSE(decode(directory, 3).has_value());
  std::vector<std::byte> longer = directory;
  longer.resize(longer.size() + 8);
  EXPECT_FALSE(decode(longer, 2).has_value());
  EXPECT_TRUE(decode(directory, 2).has_value());
}

// docs/format.md H-45.
TEST(BitmapDirectory, RefusesBadFields) {
  for (const std::uint64_t offset :
       {std::uint64_t{0}, std::uint64_t{0x50200}, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    expect_refused([=](auto& directory) { patch64(directory, 0, offset); });
  }
  for (const std::uint32_t entries : {0u, 8193u, 1u << 27, 0xffff'ffffu}) {  // 512 MiB of data is 8192 clusters
    expect_refused([=](auto& directory) { patch32(directory, 8, entries); });
  }
  for (const std::uint32_t flags : {8u, 0x8000'0000u}) {
    expect_refused([=](auto& directory) { patch32(directory, 12, flags); });
  }
  for (const unsigned type : {0u, 2u, 255u}) {
    expect_refused([=](auto& directory) { directory[16] = static_cast<std::byte>(type); });
  }
  for (const unsigned granularity : {0u, 8u, 32u, 63u, 64u, 255u}) {
    expect_refused([=](auto& directory) { directory[17] = static_cast<std::byte>(granularity); });
  }
  for (const std::uint16_t name_bytes : std::initializer_list<std::uint16_t>{0, 9, 0xffff}) {
    expect_refused([=](auto& directory) { store_be16(directory.data() + 18, name_bytes); });
  }
  for (const std::uint32_t extra_bytes : {1u, 8u, 0xffff'ffffu}) {
    expect_refused([=](auto& directory) { patch32(directory, 20, extra_bytes); });
  }
}

TEST(BitmapDirectory, AcceptsEveryGranularity) {
  for (unsigned bits = 9; bits <= 31; ++bits) {
    BitmapEntry entry = sample("g");
    entry.granularity_bits = bits;
    EXPECT_EQ(decode(encode_bitmap_directory({entry}, geometry).value()).value(), std::vector{entry});
  }
}

// docs/format.md section 21: 512 MiB of bitmap data, for every cluster size.
TEST(BitmapDirectory, AcceptsTheLargestTableAndNoLarger) {
  for (unsigned bits = min_cluster_bits; bits <= max_cluster_bits; ++bits) {
    const Geometry other = {3, bits, 4, false, false};
    BitmapEntry entry = sample("large");
    entry.table = HostOffset(std::uint64_t{1} << 30);
    entry.table_entries = static_cast<std::uint32_t>(max_bitmap_data_bytes >> bits);
    const std::vector<std::byte> directory = encode_bitmap_directory({entry}, other).value();
    const BitmapsExtension extension = {1, 0, directory.size(), HostOffset(0x40000)};
    EXPECT_TRUE(decode_bitmap_directory(directory, extension, other, huge_file_bytes).has_value());
    ++entry.table_entries;
    EXPECT_FALSE(encode_bitmap_directory({entry}, other).has_value());
  }
}

TEST(BitmapDirectory, RefusesATableBeyondTheEndOfTheFile) {
  const std::vector<std::byte> directory = encode_bitmap_directory({sample("b")}, geometry).value();
  EXPECT_TRUE(decode(directory, 1, 0x50001).has_value());
  EXPECT_FALSE(decode(directory, 1, 0x50000).has_value());
}

// docs/format.md I-34.
TEST(BitmapDirectory, NamesAreUniqueAndBounded) {
  const std::string longest(1023, 'n');
  EXPECT_EQ(decode(encode_bitmap_directory({sample(longest)}, geometry).value()).value().at(0).name, longest);
  EXPECT_FALSE(encode_bitmap_directory({sample(longest + "n")}, geometry).has_value());
  EXPECT_FALSE(encode_bitmap_directory({sample("")}, geometry).has_value());
  EXPECT_FALSE(encode_bitmap_directory({sample("a"), sample("b"), sample("a")}, geometry).has_value());
  std::vector<std::byte> directory = encode_bitmap_directory({sample("a"), sample("b")}, geometry).value();
  directory[32 + 24] = std::byte{'a'};
  EXPECT_EQ(decode(directory, 2).error().message(), "two bitmaps are named 'a'");
  // 1024 bytes of name on disk.
  directory = encode_bitmap_directory({sample(std::string(1023, 'n'))}, geometry).value();
  store_be16(directory.data() + 18, 1024);
  EXPECT_FALSE(decode(directory).has_value());
}

TEST(BitmapDirectory, RefusesToWriteMoreThanTheLimits) {
  std::vector<BitmapEntry> entries;
  for (unsigned i = 0; i < 65536; ++i) entries.push_back(sample(std::to_string(i)));
  EXPECT_EQ(encode_bitmap_directory(entries, geometry).error().code(), ErrorCode::no_space);
  entries.pop_back();
  EXPECT_EQ(decode(encode_bitmap_directory(entries, geometry).value(), 65535).value(), entries);
  BitmapEntry large = sample("large");
  large.extra_data.resize(max_bitmap_directory_bytes - 24 - 5);  // 67107840 is a multiple of 8
  EXPECT_EQ(encode_bitmap_directory({large}, geometry).value().size(), max_bitmap_directory_bytes);
  large.extra_data.resize(large.extra_data.size() + 1);
  EXPECT_EQ(encode_bitmap_directory({large}, geometry).error().code(), ErrorCode::no_space);
}

TEST(BitmapDirectory, DecodingAndEncodingAreInverseForRandomDirectories) {
  std::mt19937_64 random(31);
  for (unsigned round = 0; round < 1000; ++round) {
    std::vector<BitmapEntry> entries;
    for (std::uint64_t i = 1 + random() % 6; i > 0; --i) {
      BitmapEntry entry = sample(std::to_string(i) + std::string(random() % 40, 'n'));
      entry.table = HostOffset((1 + random() % 1000) << 16);
      entry.table_entries = static_cast<std::uint32_t>(1 + random() % 8192);
      entry.in_use = random() % 2 == 0;
      entry.auto_record = random() % 2 == 0;
      entry.granularity_bits = static_cast<unsigned>(9 + random() % 23);
      entry.extra_data.assign(random() % 20, std::byte{0x77});
      entries.push_back(entry);
    }
    const std::vector<std::byte> directory = encode_bitmap_directory(entries, geometry).value();
    const auto decoded = decode(directory, static_cast<std::uint32_t>(entries.size())).value();
    ASSERT_EQ(decoded, entries);
    ASSERT_EQ(encode_bitmap_directory(decoded, geometry).value(), directory);
  }
}

// docs/format.md section 15.
TEST(BitmapTable, LengthCoversTheDisk) {
  EXPECT_EQ(required_bitmap_table_entries(geometry, 64 * mebibyte, 16), 1u);
  EXPECT_EQ(required_bitmap_table_entries(geometry, 0, 16), 0u);
  EXPECT_EQ(required_bitmap_table_entries(geometry, 512, 9), 1u);
  // One cluster of 64 KiB holds 2^19 bits.
  EXPECT_EQ(required_bitmap_table_entries(geometry, std::uint64_t{1} << (19 + 16), 16), 1u);
  EXPECT_EQ(required_bitmap_table_entries(geometry, (std::uint64_t{1} << (19 + 16)) + 1, 16), 2u);
  EXPECT_EQ(required_bitmap_table_entries({3, 9, 4, false, false}, std::uint64_t{1} << 61, 31), 1u << 18);
}

// docs/format.md H-46, I-19.
TEST(BitmapTable, EachBitOfAnEntryIsChecked) {
  for (unsigned bits = min_cluster_bits; bits <= max_cluster_bits; ++bits) {
    const Geometry other = {3, bits, 4, false, false};
    for (unsigned bit = 0; bit < 64; ++bit) {
      const std::uint64_t raw = std::uint64_t{1} << bit;
      const auto entry = decode_bitmap_table_entry(other, raw);
      if (bit == 0 || (bit >= bits && bit <= 55)) {
        ASSERT_TRUE(entry.has_value()) << bit;
        EXPECT_EQ(*entry,
                  (bit == 0 ? BitmapTableEntry{HostOffset(0), true} : BitmapTableEntry{HostOffset(raw), false}));
        EXPECT_EQ(encode_bitmap_table_entry(*entry), raw);
      } else {
        ASSERT_FALSE(entry.has_value()) << bit;
        EXPECT_EQ(entry.error(), bit <= 8 || bit >= 56 ? EntryFault::reserved_bits : EntryFault::unaligned);
      }
    }
  }
  EXPECT_EQ(decode_bitmap_table_entry(geometry, 0x50001).error(), EntryFault::flag_with_offset);
  EXPECT_EQ(decode_bitmap_table_entry(geometry, 0).value(), BitmapTableEntry{});
}

}  // namespace
}  // namespace byre::format
