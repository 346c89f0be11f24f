// Looking at images, whole and hostile ones.

#include <gtest/gtest.h>

#include <cstring>

#include "base/endian.h"
#include "byre/ops/info.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"
#include "format/header.h"
#include "format/luks_header.h"
#include "support/fresh_image.h"

namespace byre {
namespace {

class InfoTest : public testing::Test {
 protected:
  InfoTest() : loop_(std::move(*make_event_loop(IoMode::threads))) {}

  Result<ImageInfo> look(const std::vector<std::byte>& image, const char* name = "memory") {
    MemoryStorage storage{ConstBytes(image), name};
    storage.set_writable(false);
    InfoOptions options;
    options.count_clusters = true;
    return loop_->run(image_info(storage, options));
  }

  std::unique_ptr<EventLoop> loop_;
};

TEST_F(InfoTest, TellsWhatTheHeaderSays) {
  test::FreshImageOptions options;
  options.geometry.cluster_bits = 12;
  options.backing_name = "../base.raw";
  const auto info = look(test::fresh_image(options), "dir/top.qcow2");
  ASSERT_TRUE(info.has_value()) << info.error().message();
  EXPECT_EQ(info->format, "qcow2");
  EXPECT_EQ(info->virtual_size_bytes, 1u << 20);
  EXPECT_EQ(info->qcow2->cluster_size_bytes, 4096u);
  EXPECT_EQ(info->backing_name, "../base.raw");
  EXPECT_EQ(info->backing_path, "dir/../base.raw");
  EXPECT_EQ(info->backing_format, "raw");
  EXPECT_EQ(info->qcow2->cluster_use->total, 256u);
  EXPECT_EQ(info->qcow2->cluster_use->allocated, 0u);
}

TEST_F(InfoTest, AFileWithoutMagicIsRaw) {
  const auto info = look(std::vector<std::byte>(1000));
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->format, "raw");
  EXPECT_EQ(info->virtual_size_bytes, 1024u);
  EXPECT_FALSE(info->qcow2.has_value());
}

TEST_F(InfoTest, ShowsDirtyAndCorruptImages) {
  auto image = test::fresh_image({});
  image[79] = std::byte{3};  // incompatible bits 0 and 1
  const auto info = look(image);
  ASSERT_TRUE(info.has_value()) << info.error().message();
  EXPECT_TRUE(info->qcow2->dirty);
  EXPECT_TRUE(info->qcow2->corrupt);
}

// H-19: this makes another tool crash.
TEST_F(InfoTest, RefusesLuksWithoutPointer) {
  auto image = test::fresh_image({});
  store_be32(image.data() + 32, 2);
  EXPECT_FALSE(look(image).has_value());
}

// H-7: a damaged mapping is no reason to hide what the image is.
TEST_F(InfoTest, ShowsAnImageWhoseL1TableLeadsNowhere) {
  auto image = test::fresh_image({});
  store_be64(image.data() + 40, std::uint64_t{1} << 40);
  const auto info = look(image);
  ASSERT_TRUE(info.has_value()) << info.error().message();
  EXPECT_FALSE(info->qcow2->cluster_use.has_value());
}

// H-40: the table's entries run past the end of the file.
TEST_F(InfoTest, RefusesASnapshotTableThatRunsOutOfTheFile) {
  auto image = test::fresh_image({});
  const std::uint64_t table = (image.size() + 0xffff) & ~std::uint64_t{0xffff};
  image.resize(table + 40, std::byte{0});
  store_be32(image.data() + 60, 1);
  store_be64(image.data() + 64, table);
  ASSERT_TRUE(look(image).has_value());
  store_be16(image.data() + table + 14, 65535);  // length of the name
  const auto info = look(image);
  ASSERT_FALSE(info.has_value());
  EXPECT_EQ(info.error().code(), ErrorCode::corrupt);
}

// H-37, H-1: whatever single byte of the header is changed, the answer is a value or an error.
TEST_F(InfoTest, SurvivesAnyChangedHeaderByte) {
  test::FreshImageOptions options;
  options.geometry.cluster_bits = 9;
  options.size_bytes = 65536;
  options.backing_name = "base";
  const auto image = test::fresh_image(options);
  std::uint64_t refused = 0;
  for (std::size_t at = 0; at < 160; ++at) {
    for (const unsigned value : {0u, 1u, 0x7fu, 0x80u, 0xffu}) {
      auto changed = image;
      changed[at] = static_cast<std::byte>(value);
      if (!look(changed)) ++refused;
    }
  }
  EXPECT_GT(refused, 100u);
}

std::vector<std::byte> luks_header() {
  std::vector<std::byte> raw(format::luks_header_bytes);
  const auto put = [&](std::size_t at, std::string_view text) {
    std::memcpy(raw.data() + at, text.data(), text.size());
  };
  put(0, "LUKS\xba\xbe");
  store_be16(raw.data() + 6, 1);
  put(8, "aes");
  put(40, "xts-plain64");
  put(72, "sha256");
  store_be32(raw.data() + 104, 4040);
  store_be32(raw.data() + 108, 64);
  store_be32(raw.data() + 164, 1000);
  put(168, "00000000-0000-0000-0000-000000000001");
  for (std::size_t slot = 0; slot < 8; ++slot) {
    std::byte* at = raw.data() + 208 + slot * 48;
    store_be32(at, slot == 0 ? 0x00ac71f3 : 0x0000dead);
    store_be32(at + 4, slot == 0 ? 2000 : 0);
    store_be32(at + 40, static_cast<std::uint32_t>(8 + slot * 504));
    store_be32(at + 44, 4000);
  }
  return raw;
}

TEST(LuksHeaderTest, DecodesEveryField) {
  const auto header = format::decode_luks_header(luks_header());
  ASSERT_TRUE(header.has_value()) << header.error().message();
  EXPECT_EQ(header->cipher, "aes");
  EXPECT_EQ(header->mode, "xts");
  EXPECT_EQ(header->iv_generator, "plain64");
  EXPECT_EQ(header->iv_generator_hash, "");
  EXPECT_EQ(header->hash, "sha256");
  EXPECT_EQ(header->payload_offset_bytes, 2068480u);
  EXPECT_EQ(header->key_bytes, 64u);
  EXPECT_EQ(header->uuid, "00000000-0000-0000-0000-000000000001");
  EXPECT_TRUE(header->slots[0].active);
  EXPECT_EQ(header->slots[0].iterations, 2000u);
  EXPECT_FALSE(header->slots[1].active);
  EXPECT_EQ(header->slots[7].key_offset_bytes, 3536u * 512);
}

TEST(LuksHeaderTest, SplitsAnEssivMode) {
  auto raw = luks_header();
  std::memcpy(raw.data() + 40, "cbc-essiv:sha256", 17);
  const auto header = format::decode_luks_header(raw);
  ASSERT_TRUE(header.has_value());
  EXPECT_EQ(header->mode, "cbc");
  EXPECT_EQ(header->iv_generator, "essiv");
  EXPECT_EQ(header->iv_generator_hash, "sha256");
}

TEST(LuksHeaderTest, NamesAnotherVersion) {
  auto raw = luks_header();
  store_be16(raw.data() + 6, 2);
  const auto header = format::decode_luks_header(raw);
  ASSERT_FALSE(header.has_value());
  EXPECT_EQ(header.error().message(), "LUKS version 2: only version 1 is known");
}

// H-53.
TEST(LuksHeaderTest, RefusesWhatBreaksItsRules) {
  const auto changed = [](std::size_t at, std::uint32_t value) {
    auto raw = luks_header();
    store_be32(raw.data() + at, value);
    return format::decode_luks_header(raw).has_value();
  };
  EXPECT_TRUE(changed(164, 1));
  EXPECT_FALSE(changed(0, 0));
  EXPECT_FALSE(changed(108, 0));
  EXPECT_FALSE(changed(108, 0xffffffff));
  EXPECT_FALSE(changed(164, 0));
  EXPECT_FALSE(changed(208, 1));
  EXPECT_FALSE(changed(208 + 4, 0));
  EXPECT_FALSE(changed(208 + 44, 3999));
  auto endless = luks_header();
  std::memset(endless.data() + 8, 'a', 32);
  EXPECT_FALSE(format::decode_luks_header(endless).has_value());
}

}  // namespace
}  // namespace byre
