// A file that another program cuts off while it is open (docs/format.md H-59): what is missing of a table is an error,
// not zeros.

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "byre/data/disk.h"
#include "byre/task/pollers.h"
#include "support/image_builder.h"
#include "support/temporary_directory.h"

namespace byre {
namespace {

class ShrinkingFile : public testing::Test {
 protected:
  ShrinkingFile() : loop_(std::move(*make_event_loop(IoMode::threads))), image_(test::sample_image()) {
    std::ofstream file(path_, std::ios::binary);
    file.write(reinterpret_cast<const char*>(image_.bytes().data()),
               static_cast<std::streamsize>(image_.bytes().size()));
  }

  std::unique_ptr<Disk> open(bool writable) {
    OpenOptions options;
    options.format = "qcow2";
    options.writable = writable;
    auto disk = loop_->run(open_disk(path_, options));
    EXPECT_TRUE(disk.has_value()) << disk.error().message();
    return disk ? std::move(*disk) : nullptr;
  }

  void cut(std::uint64_t size_bytes) { ASSERT_EQ(::truncate(path_.c_str(), static_cast<off_t>(size_bytes)), 0); }

  Result<void> read(Disk& disk, std::uint64_t offset) {
    std::vector<std::byte> bytes(512);
    return loop_->run(disk.read(offset, bytes));
  }
  Result<void> write(Disk& disk, std::uint64_t offset) {
    const std::vector<std::byte> bytes(512, std::byte{0x99});
    return loop_->run(disk.write(offset, bytes));
  }
  static void expect_io_error(const Result<void>& result) {
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code(), ErrorCode::io) << result.error().message();
  }

  TemporaryDirectory directory_;
  std::string path_ = directory_.file("image");
  std::unique_ptr<EventLoop> loop_;
  test::ImageBuilder image_;
};

TEST_F(ShrinkingFile, AnL2TableThatIsGoneFailsTheRead) {
  const auto disk = open(false);
  cut(image_.l2_table());
  expect_io_error(read(*disk, 0));
  EXPECT_TRUE(loop_->run(disk->close()).has_value());
}

TEST_F(ShrinkingFile, HalfAnL2TableFailsTheRead) {
  const auto disk = open(false);
  cut(image_.l2_table() + image_.cluster_size() / 2);
  expect_io_error(read(*disk, 0));
  EXPECT_TRUE(loop_->run(disk->close()).has_value());
}

TEST_F(ShrinkingFile, ARefcountBlockThatIsGoneFailsTheWrite) {
  const auto disk = open(true);
  ASSERT_TRUE(read(*disk, 0).has_value());  // the L2 table is cached
  cut(image_.refcount_block());
  expect_io_error(write(*disk, 0));
  expect_io_error(write(*disk, 20 * image_.cluster_size()));
  EXPECT_TRUE(loop_->run(disk->close()).has_value());
  EXPECT_EQ(std::filesystem::file_size(path_), image_.refcount_block()) << "a lost file grew";
}

TEST_F(ShrinkingFile, TheHeaderCutBeforeOpeningIsRefused) {
  for (const std::uint64_t length : {0u, 4u, 8u, 71u, 103u, 104u, 111u}) {
    cut(length);
    OpenOptions options;
    options.format = "qcow2";
    const auto disk = loop_->run(open_disk(path_, options));
    EXPECT_FALSE(disk.has_value()) << length;
  }
}

}  // namespace
}  // namespace byre
