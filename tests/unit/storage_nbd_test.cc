// The NBD client as a storage, on one loop with this library's own server. tests/cli/nbd_clients_reach_servers.sh has
// it work with others.

#include <gtest/gtest.h>

#include "byre/data/disk.h"
#include "byre/nbd/server.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"
#include "byre/task/sync.h"
#include "storage/libnbd_functions.h"
#include "storage/nbd_storage.h"
#include "support/temporary_directory.h"

namespace byre {
namespace {

constexpr std::uint64_t export_bytes = 1 << 20;

std::vector<std::byte> filled(std::size_t size, int value) {
  return std::vector<std::byte>(size, static_cast<std::byte>(value));
}

class NbdStorageTest : public testing::TestWithParam<IoMode> {
 protected:
  void SetUp() override {
    if (!LibNbd::load()) GTEST_SKIP() << "no libnbd";
    auto loop = make_event_loop(GetParam());
    if (!loop) GTEST_SKIP() << loop.error().message();
    loop_ = std::move(*loop);
    OpenOptions options;
    options.format = "raw";
    options.writable = true;
    disk_ = loop_->run(open_disk(std::make_unique<MemoryStorage>(export_bytes), options)).value();
    std::vector<nbd::Export> exports(2);
    exports[0].part.disk = disk_.get();
    exports[1].name = "fixed";
    exports[1].part.disk = disk_.get();
    exports[1].part.read_only = true;
    server_ = nbd::Server::make(std::move(exports), {}).value();
    std::vector<Listener> listeners;
    listeners.push_back(Listener::on_path(directory_.file("s")).value());
    loop_->spawn(serve(*server_, std::move(listeners)));
  }
  void TearDown() override {
    storage_.reset();
    if (!server_) return;
    server_->stop();
    loop_->run_spawned();
    ASSERT_TRUE(loop_->run(disk_->close()));
  }
  static Task<void> serve(nbd::Server& server, std::vector<Listener> listeners) {
    const auto done = co_await server.run(std::move(listeners));
    EXPECT_TRUE(done);
  }
  Result<void> connect(const std::string& name, bool writable = true) {
    NbdAddress address;
    address.socket_path = directory_.file("s");
    address.export_name = name;
    FileOptions options;
    options.writable = writable;
    BYRE_TRY(storage_, loop_->run(open_nbd(address, options)));
    return {};
  }
  std::vector<std::byte> read(std::uint64_t offset, std::size_t size) {
    std::vector<std::byte> bytes(size, std::byte{0xee});
    const auto count = loop_->run(storage_->read(offset, bytes));
    EXPECT_TRUE(count) << (count ? "" : count.error().message());
    bytes.resize(count.value_or(0));
    return bytes;
  }

  TemporaryDirectory directory_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<Disk> disk_;
  std::unique_ptr<nbd::Server> server_;
  std::unique_ptr<Storage> storage_;
};

INSTANTIATE_TEST_SUITE_P(, NbdStorageTest, testing::Values(IoMode::uring, IoMode::threads),
                         [](const auto& instance) { return instance.param == IoMode::uring ? "uring" : "threads"; });

TEST_P(NbdStorageTest, ReadsWhatWasWrittenAndEndsAtTheEnd) {
  ASSERT_TRUE(connect(""));
  EXPECT_EQ(storage_->size_bytes(), export_bytes);
  const auto data = filled(5000, 7);
  ASSERT_TRUE(loop_->run(write_bytes(*storage_, 1001, data)));
  EXPECT_EQ(read(1001, 5000), data);
  EXPECT_EQ(read(1000, 1), filled(1, 0));
  EXPECT_EQ(read(export_bytes - 10, 20), filled(10, 0));
  EXPECT_EQ(read(export_bytes, 20).size(), 0u);
  ASSERT_TRUE(loop_->run(storage_->flush()));
}

TEST_P(NbdStorageTest, ZeroesAndPunchedRangesAreHoles) {
  ASSERT_TRUE(connect(""));
  const auto data = filled(export_bytes, 7);
  ASSERT_TRUE(loop_->run(write_bytes(*storage_, 0, data)));
  ASSERT_TRUE(loop_->run(storage_->zero(256 << 10, 128 << 10, true)));
  const auto before = loop_->run(storage_->extent_at(1000));
  ASSERT_TRUE(before);
  EXPECT_TRUE(before->data);
  EXPECT_EQ(before->length_bytes, (256u << 10) - 1000);
  const auto hole = loop_->run(storage_->extent_at(256 << 10));
  ASSERT_TRUE(hole);
  EXPECT_FALSE(hole->data);
  EXPECT_EQ(hole->length_bytes, 128u << 10);
  EXPECT_EQ(read(256 << 10, 4096), filled(4096, 0));
  ASSERT_TRUE(loop_->run(storage_->punch(0, 64 << 10)));
}

TEST_P(NbdStorageTest, WhatDoesNotFitIsRefusedAndNothingBreaks) {
  ASSERT_TRUE(connect(""));
  const auto data = filled(20, 7);
  const auto behind = loop_->run(write_bytes(*storage_, export_bytes - 10, data));
  ASSERT_FALSE(behind);
  EXPECT_EQ(behind.error().code(), ErrorCode::no_space);
  EXPECT_FALSE(loop_->run(storage_->resize(export_bytes + 1)));
  EXPECT_TRUE(loop_->run(storage_->resize(export_bytes)));
  EXPECT_FALSE(loop_->run(storage_->extend(export_bytes + 1)));
  EXPECT_EQ(read(export_bytes - 10, 10), filled(10, 0));
}

TEST_P(NbdStorageTest, OtherNamesAndWritingWhatIsFixedAreRefused) {
  const auto missing = connect("nothing");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::not_found);
  const auto fixed = connect("fixed");
  ASSERT_FALSE(fixed);
  EXPECT_EQ(fixed.error().code(), ErrorCode::refused);
  ASSERT_TRUE(connect("fixed", false));
  EXPECT_EQ(read(0, 4), filled(4, 0));
}

Task<Result<void>> write_all(Storage& storage, const std::vector<std::byte>& data, std::size_t piece) {
  TaskGroup group;
  for (std::size_t at = 0; at < data.size(); at += piece) {
    const ConstBytes bytes = ConstBytes(data).subspan(at, piece);
    group.start(write_bytes(storage, at, bytes));
  }
  co_return co_await group.join();
}

TEST_P(NbdStorageTest, ManyRequestsAreInFlightAtOnce) {
  ASSERT_TRUE(connect(""));
  std::vector<std::byte> data(export_bytes);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7 >> 9);
  ASSERT_TRUE(loop_->run(write_all(*storage_, data, 1024)));
  EXPECT_EQ(read(0, export_bytes), data);
}

TEST_P(NbdStorageTest, AfterTheServerHasGoneEverythingFails) {
  ASSERT_TRUE(connect(""));
  EXPECT_EQ(read(0, 4), filled(4, 0));
  server_->stop();
  loop_->run_spawned();
  std::byte byte{};
  const Bytes target(&byte, 1);
  EXPECT_FALSE(loop_->run(storage_->read(0, target)));
  EXPECT_FALSE(loop_->run(storage_->read(0, target)));
  storage_.reset();
}

TEST(NbdAddressTest, UrlsAreThoseThatNamesAreReadFrom) {
  NbdAddress address;
  address.socket_path = "/run/a b";
  address.export_name = "x?y";
  EXPECT_EQ(address.url(), "nbd+unix:///x%3Fy?socket=/run/a%20b");
  address.socket_path.reset();
  address.host = "::1";
  address.port = "7";
  EXPECT_EQ(address.url(), "nbd://[::1]:7/x%3Fy");
}

}  // namespace
}  // namespace byre
