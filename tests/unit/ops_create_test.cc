// New images, decoded again by format/ and judged by verify().

#include <gtest/gtest.h>

#include "byre/data/disk.h"
#include "byre/ops/create.h"
#include "byre/storage/memory.h"
#include "byre/storage/simulated.h"
#include "byre/task/pollers.h"
#include "format/header.h"
#include "ops/create_options.h"
#include "support/verify.h"

namespace byre {
namespace {

constexpr std::uint64_t mebibyte = 1 << 20;

class CreateTest : public testing::Test {
 protected:
  CreateTest() : loop_(std::move(*make_event_loop(IoMode::threads))) {}

  Result<> create(MemoryStorage& storage, const CreateOptions& options) {
    return loop_->run(create_qcow2(storage, options));
  }

  static format::Header decode(const MemoryStorage& storage) {
    const auto content = storage.content();
    auto header = format::decode_header(content, content.size(), format::HeaderUse::write);
    EXPECT_TRUE(header.has_value()) << header.error().message();
    return header.value_or(format::Header());
  }

  std::unique_ptr<EventLoop> loop_;
};

CreateOptions of_size(std::uint64_t size_bytes) {
  CreateOptions options;
  options.size_bytes = size_bytes;
  return options;
}

TEST_F(CreateTest, LaysAFreshImageOutAsSection2Shows) {
  MemoryStorage storage;
  ASSERT_TRUE(create(storage, of_size(1 << 30)));
  const format::Header header = decode(storage);
  EXPECT_EQ(header.refcount_table.bytes, 0x10000u);
  EXPECT_EQ(header.refcount_table_clusters, 1u);
  EXPECT_EQ(header.l1_table.bytes, 0x30000u);
  EXPECT_EQ(header.l1_entries, 2u);
  EXPECT_EQ(storage.size_bytes(), 0x30010u);
  EXPECT_TRUE(test::verify(storage.content()).clean());
}

TEST_F(CreateTest, AnEmptyDiskHasNoL1Table) {
  MemoryStorage storage;
  ASSERT_TRUE(create(storage, of_size(0)));
  const format::Header header = decode(storage);
  EXPECT_EQ(header.l1_entries, 0u);
  EXPECT_EQ(header.l1_table.bytes, 0u);
  EXPECT_EQ(storage.size_bytes(), 0x30000u);
}

TEST_F(CreateTest, RecordsEveryOption) {
  CreateOptions options = of_size(1'000'001);
  options.cluster_size_bytes = 8192;
  options.refcount_bits = 1;
  options.lazy_refcounts = true;
  options.compression = Compression::zstd;
  options.backing_file = "base.raw";
  options.backing_format = "raw";
  MemoryStorage storage;
  ASSERT_TRUE(create(storage, options));
  const format::Header header = decode(storage);
  EXPECT_EQ(header.virtual_size_bytes, 1'000'448u);
  EXPECT_EQ(header.cluster_bits, 13u);
  EXPECT_EQ(header.refcount_order, 0u);
  EXPECT_EQ(header.compatible_features, format::compatible::lazy_refcounts);
  EXPECT_EQ(header.incompatible_features, format::incompatible::compression_type);
  EXPECT_EQ(header.compression_type, format::CompressionType::zstd);
  EXPECT_EQ(header.backing_name, "base.raw");
  EXPECT_EQ(header.backing_format, "raw");
  EXPECT_TRUE(header.feature_names.has_value());
}

TEST_F(CreateTest, Version2HasAShortHeader) {
  CreateOptions options = of_size(mebibyte);
  options.version = 2;
  MemoryStorage storage;
  ASSERT_TRUE(create(storage, options));
  const format::Header header = decode(storage);
  EXPECT_EQ(header.version, 2u);
  EXPECT_EQ(header.header_length, 72u);
  EXPECT_FALSE(header.feature_names.has_value());
}

TEST_F(CreateTest, IsCleanForEveryClusterSizeAndRefcountWidth) {
  for (std::uint64_t cluster_size = 512; cluster_size <= 2 * mebibyte; cluster_size *= 2) {
    for (unsigned refcount_bits = 1; refcount_bits <= 64; refcount_bits *= 2) {
      for (const Preallocation mode : {Preallocation::off, Preallocation::metadata}) {
        CreateOptions options = of_size(mebibyte + 512);
        options.cluster_size_bytes = cluster_size;
        options.refcount_bits = refcount_bits;
        options.preallocation = mode;
        MemoryStorage storage;
        ASSERT_TRUE(create(storage, options));
        const test::Verdict verdict = test::verify(storage.content());
        EXPECT_TRUE(verdict.clean()) << cluster_size << " " << refcount_bits << ": " << verdict.text();
      }
    }
  }
}

TEST_F(CreateTest, PreallocatedDiskReadsAsZerosAndNeverGrows) {
  for (const Preallocation mode : {Preallocation::metadata, Preallocation::falloc, Preallocation::full}) {
    CreateOptions options = of_size(3 * mebibyte + 512);
    options.preallocation = mode;
    auto owned = std::make_unique<MemoryStorage>();
    MemoryStorage& storage = *owned;
    ASSERT_TRUE(create(storage, options));
    const std::uint64_t length_bytes = storage.size_bytes();
    OpenOptions open_options;
    open_options.format = "qcow2";
    open_options.writable = true;
    auto disk = loop_->run(open_disk(std::move(owned), open_options));
    ASSERT_TRUE(disk.has_value()) << disk.error().message();
    std::vector<std::byte> bytes(3 * mebibyte + 512, std::byte{1});
    ASSERT_TRUE(loop_->run((*disk)->read(0, bytes)));
    EXPECT_TRUE(is_all_zero(bytes));
    std::ranges::fill(bytes, std::byte{7});
    ASSERT_TRUE(loop_->run((*disk)->write(0, bytes)));
    ASSERT_TRUE(loop_->run((*disk)->flush()));
    EXPECT_EQ(storage.size_bytes(), length_bytes);
    ASSERT_TRUE(loop_->run((*disk)->close()));
  }
}

TEST_F(CreateTest, OldContentDoesNotShowThrough) {
  for (const Preallocation mode : {Preallocation::off, Preallocation::metadata, Preallocation::full}) {
    const std::vector<std::byte> garbage(4 * mebibyte, std::byte{0x5a});
    auto owned = std::make_unique<MemoryStorage>(ConstBytes(garbage));
    CreateOptions options = of_size(2 * mebibyte);
    options.preallocation = mode;
    ASSERT_TRUE(create(*owned, options));
    EXPECT_TRUE(test::verify(owned->content()).clean());
    OpenOptions open_options;
    open_options.format = "qcow2";
    auto disk = loop_->run(open_disk(std::move(owned), open_options));
    ASSERT_TRUE(disk.has_value()) << disk.error().message();
    std::vector<std::byte> bytes(2 * mebibyte, std::byte{1});
    ASSERT_TRUE(loop_->run((*disk)->read(0, bytes)));
    EXPECT_TRUE(is_all_zero(bytes));
    ASSERT_TRUE(loop_->run((*disk)->close()));
  }
}

// Whatever a crash keeps: either no image at all, or the finished one.
TEST(CreateCrashTest, LeavesNoImageOrTheWholeOne) {
  std::uint64_t images = 0;
  std::uint64_t ruins = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    auto owned = std::make_unique<SimulatedScheduler>(seed);
    SimulatedScheduler& scheduler = *owned;
    EventLoop loop(std::move(owned));
    // An older image of another geometry is overwritten.
    MemoryStorage older;
    CreateOptions old_options = of_size(4 * mebibyte);
    old_options.cluster_size_bytes = 4096;
    ASSERT_TRUE(loop.run(create_qcow2(older, old_options)));
    SimulatedDisk disk(scheduler, {}, older.content());
    SimulatedRandom random(seed);
    bool half_done = false;
    scheduler.set_before_pick([&] {
      std::vector<std::byte> image = disk.crash_image(random);
      if (!format::decode_header(image, image.size(), format::HeaderUse::read)) {
        ++ruins;
        return;
      }
      ++images;
      half_done = half_done || !test::verify(image).sound();
    });
    CreateOptions options = of_size(mebibyte);
    options.cluster_size_bytes = 512;
    options.preallocation = Preallocation::metadata;
    ASSERT_TRUE(loop.run(create_qcow2(disk, options)));
    scheduler.set_before_pick(nullptr);
    EXPECT_FALSE(half_done) << "seed " << seed;
    EXPECT_TRUE(test::verify(disk.running_image()).clean());
  }
  EXPECT_GT(images, 0u);
  EXPECT_GT(ruins, 0u);
}

TEST(CreateFaultTest, EveryFailingOperationFailsTheCallAndLeavesNoImage) {
  CreateOptions options = of_size(mebibyte);
  options.cluster_size_bytes = 4096;
  options.preallocation = Preallocation::falloc;
  bool finished = false;
  for (std::uint64_t nth = 1; !finished; ++nth) {
    ASSERT_LT(nth, 1000u);
    auto owned = std::make_unique<SimulatedScheduler>(nth);
    SimulatedScheduler& scheduler = *owned;
    EventLoop loop(std::move(owned));
    SimulatedDisk disk(scheduler, {});
    FaultPlan plan;
    plan.nth = nth;
    disk.set_fault(plan);
    const Result<> made = loop.run(create_qcow2(disk, options));
    finished = disk.fault_count() == 0;
    EXPECT_EQ(made.has_value(), finished) << "operation " << nth;
  }
}

std::string refusal(const CreateOptions& options) {
  const Result<> checked = check_create_options(options);
  return checked ? "" : checked.error().message();
}

TEST(CreateOptionsTest, NamesTheOptionThatIsWrong) {
  const auto with = [](auto change) {
    CreateOptions options = of_size(mebibyte);
    change(options);
    return refusal(options);
  };
  EXPECT_EQ(with([](CreateOptions&) {}), "");
  EXPECT_NE(with([](CreateOptions& o) { o.cluster_size_bytes = 3072; }).find("cluster_size=3072"), std::string::npos);
  EXPECT_NE(with([](CreateOptions& o) { o.cluster_size_bytes = 256; }).find("cluster_size=256"), std::string::npos);
  EXPECT_NE(with([](CreateOptions& o) { o.refcount_bits = 3; }).find("refcount_bits=3"), std::string::npos);
  EXPECT_NE(with([](CreateOptions& o) { o.refcount_bits = 128; }).find("refcount_bits=128"), std::string::npos);
  EXPECT_NE(with([](CreateOptions& o) { o.backing_format = "raw"; }).find("without a backing file"), std::string::npos);
  EXPECT_NE(with([](CreateOptions& o) { o.backing_file = "base"; }).find("-F"), std::string::npos);
  EXPECT_NE(with([](CreateOptions& o) {
              o.cluster_size_bytes = 512;
              o.size_bytes = (std::uint64_t{128} << 30) + 1;
            }).find("at most 128 GiB"),
            std::string::npos);
  EXPECT_NE(with([](CreateOptions& o) {
              o.version = 2;
              o.lazy_refcounts = true;
            }).find("compat=1.1"),
            std::string::npos);
  EXPECT_NE(with([](CreateOptions& o) {
              o.backing_file = "base";
              o.backing_format = "raw";
              o.preallocation = Preallocation::metadata;
            }).find("preallocation=metadata"),
            std::string::npos);
  EXPECT_NE(with([](CreateOptions& o) {
              o.backing_file = "nbd:localhost";
              o.backing_format = "raw";
            }).find("nbd:localhost"),
            std::string::npos);
}

TEST(CreateOptionsTest, RefusesFeaturesThatAreNotCreatedByTheirNames) {
  for (const char* text : {"extended_l2=on", "data_file=d.raw", "data_file_raw=on", "encryption=on",
                           "encrypt.format=luks", "encrypt.key-secret=s"}) {
    ops::OptionList list;
    ASSERT_TRUE(list.add(text));
    const auto options = ops::parse_create_options("qcow2", list);
    ASSERT_FALSE(options.has_value()) << text;
    EXPECT_EQ(options.error().code(), ErrorCode::unsupported);
    const std::string name = std::string(text).substr(0, std::string_view(text).find('='));
    EXPECT_NE(options.error().message().find(name), std::string::npos);
  }
  ops::OptionList off;
  ASSERT_TRUE(off.add("extended_l2=off,encryption=off,data_file_raw=off"));
  EXPECT_TRUE(ops::parse_create_options("qcow2", off).has_value());
}

TEST(CreateOptionsTest, FormattingLineIsThatOfOtherTools) {
  CreateOptions options = of_size(mebibyte);
  EXPECT_EQ(formatting_line("a", options),
            "Formatting 'a', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 "
            "lazy_refcounts=off refcount_bits=16");
  options.backing_file = "x,y";
  options.backing_format = "qcow2";
  EXPECT_EQ(formatting_line("a", options),
            "Formatting 'a', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 "
            "backing_file=x,,y backing_fmt=qcow2 lazy_refcounts=off refcount_bits=16");
}

}  // namespace
}  // namespace byre
