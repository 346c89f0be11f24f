// Opening, refusing and locking (docs/format.md Appendix C).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "byre/storage/file.h"
#include "byre/task/pollers.h"
#include "support/temporary_directory.h"

namespace byre {
namespace {

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    auto loop = make_event_loop();
    ASSERT_TRUE(loop);
    loop_ = std::move(*loop);
    path_ = directory_.file("image");
    make_file(path_, "content");
  }
  static void make_file(const std::string& path, const std::string& content) { std::ofstream(path) << content; }

  static FileOptions reading() { return {}; }
  static FileOptions writing() {
    FileOptions options;
    options.writable = true;
    return options;
  }
  static FileOptions sharing() {
    FileOptions options;
    options.locking = Locking::force_share;
    return options;
  }
  std::string read_all(Storage& storage) {
    std::string text(storage.size_bytes(), '?');
    const Bytes bytes = std::as_writable_bytes(std::span(text));
    const auto count = loop_->run(storage.read(0, bytes));
    EXPECT_TRUE(count && *count == text.size());
    return text;
  }
  void expect_refused(const std::string& path, ErrorCode code, const std::string& words) {
    for (const FileOptions& options : {reading(), writing()}) {
      const auto opened = open_file(path, options);
      ASSERT_FALSE(opened) << path;
      EXPECT_EQ(opened.error().code(), code) << opened.error().message();
      EXPECT_NE(opened.error().message().find(words), std::string::npos) << opened.error().message();
    }
  }

  TemporaryDirectory directory_;
  std::string path_;
  std::unique_ptr<EventLoop> loop_;
};

TEST_F(FileTest, KeepsReadingTheFileThatItOpenedWhenTheNameMovesOn) {
  auto storage = open_file(path_, reading());
  ASSERT_TRUE(storage);
  ASSERT_EQ(::rename(path_.c_str(), directory_.file("old").c_str()), 0);
  make_file(path_, "another one");
  EXPECT_EQ(read_all(**storage), "content");
  auto moved = open_file(directory_.file("old"), reading());
  ASSERT_TRUE(moved);
  EXPECT_EQ((*moved)->identity(), (*storage)->identity());
  EXPECT_FALSE((*open_file(path_, reading()))->identity() == (*storage)->identity());
}

TEST_F(FileTest, RefusesAFifoWithoutWaitingForItsOtherEnd) {
  const std::string fifo = directory_.file("fifo");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  expect_refused(fifo, ErrorCode::invalid_argument, "is a FIFO; only regular files and block devices");
}

TEST_F(FileTest, RefusesADirectoryASocketAndACharacterDevice) {
  expect_refused(directory_.path(), ErrorCode::invalid_argument, "is a directory");
  expect_refused("/dev/zero", ErrorCode::invalid_argument, "is a character device");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string socket_path = directory_.file("s");
  ASSERT_LT(socket_path.size(), sizeof address.sun_path);
  socket_path.copy(address.sun_path, socket_path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  expect_refused(socket_path, ErrorCode::invalid_argument, "a socket");
  ::close(fd);
}

TEST_F(FileTest, NamesAMissingFile) {
  expect_refused(directory_.file("missing"), ErrorCode::not_found, "missing: No such file or directory");
}

TEST_F(FileTest, EscapesTheNameInMessages) {
  const auto opened = open_file(directory_.file("a\x1b[31m"), reading());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().message().find('\x1b'), std::string::npos);
}

TEST_F(FileTest, RefusesContradictoryOptions) {
  FileOptions create_only;
  create_only.create = true;
  FileOptions exclusive_only = writing();
  exclusive_only.exclusive = true;
  FileOptions shared_writer = writing();
  shared_writer.locking = Locking::force_share;
  for (const FileOptions& options : {create_only, exclusive_only, shared_writer}) {
    const auto opened = open_file(path_, options);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), ErrorCode::invalid_argument);
  }
}

TEST_F(FileTest, CreatesExclusivelyAndTruncates) {
  FileOptions options = writing();
  options.create = options.exclusive = true;
  EXPECT_FALSE(open_file(path_, options));
  EXPECT_TRUE(open_file(directory_.file("new"), options));
  options.exclusive = false;
  options.truncate = true;
  auto storage = open_file(path_, options);
  ASSERT_TRUE(storage);
  EXPECT_EQ((*storage)->size_bytes(), 0u);
}

TEST_F(FileTest, DoesNotTruncateWhatAnotherHasLocked) {
  auto writer = open_file(path_, writing());
  ASSERT_TRUE(writer);
  FileOptions options = writing();
  options.truncate = true;
  EXPECT_FALSE(open_file(path_, options));
  EXPECT_EQ(read_all(**writer), "content");
}

TEST_F(FileTest, AReadOnlyFileRefusesChanges) {
  auto storage = open_file(path_, reading());
  ASSERT_TRUE(storage);
  EXPECT_FALSE((*storage)->writable());
  const auto result = loop_->run((*storage)->resize(0));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::refused);
  EXPECT_TRUE(loop_->run((*storage)->flush()));
}

TEST_F(FileTest, ReadersCoexist) {
  auto first = open_file(path_, reading());
  auto second = open_file(path_, reading());
  EXPECT_TRUE(first);
  EXPECT_TRUE(second);
}

TEST_F(FileTest, AWriterExcludesWritersAndReaders) {
  auto writer = open_file(path_, writing());
  ASSERT_TRUE(writer);
  const auto second = open_file(path_, writing());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::locked);
  EXPECT_EQ(second.error().message(), path_ + ": another process has it open for writing: close it there first");
  const auto reader = open_file(path_, reading());
  ASSERT_FALSE(reader);
  EXPECT_EQ(reader.error().code(), ErrorCode::locked);
  EXPECT_NE(reader.error().message().find("-U/--force-share"), std::string::npos);
}

TEST_F(FileTest, AReaderExcludesWriters) {
  auto reader = open_file(path_, reading());
  ASSERT_TRUE(reader);
  const auto writer = open_file(path_, writing());
  ASSERT_FALSE(writer);
  EXPECT_EQ(writer.error().code(), ErrorCode::locked);
  EXPECT_NE(writer.error().message().find("relies on its staying as it is"), std::string::npos);
}

TEST_F(FileTest, ForceShareReadsNextToAWriterAndDoesNotHinderOne) {
  {
    auto writer = open_file(path_, writing());
    auto shared = open_file(path_, sharing());
    ASSERT_TRUE(shared);
    EXPECT_EQ(read_all(**shared), "content");
  }
  auto shared = open_file(path_, sharing());
  EXPECT_TRUE(open_file(path_, writing()));
}

TEST_F(FileTest, LocksEndWithTheStorage) {
  {
    auto writer = open_file(path_, writing());
  }
  EXPECT_TRUE(open_file(path_, writing()));
}

// The ring refers to a file for a moment longer than its request takes; a copy of the descriptor stands for that here.
TEST_F(FileTest, LocksEndWithTheStorageThoughSomethingElseRefersToTheFile) {
  int copy = -1;
  {
    auto writer = open_file(path_, writing());
    ASSERT_TRUE(writer);
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code ignored;
      if (std::filesystem::read_symlink(entry.path(), ignored) != path_) continue;
      copy = ::fcntl(std::stoi(entry.path().filename()), F_DUPFD_CLOEXEC, 0);
      break;
    }
    ASSERT_GE(copy, 0);
  }
  EXPECT_TRUE(open_file(path_, writing()));
  ::close(copy);
}

// Bytes 100, 101, 103, 201, 203 for a writer; 100, 201, 203 for a reader; 100 for one that shares.
TEST_F(FileTest, HoldsTheLocksThatTheReferenceHolds) {
  const int fd = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
  const auto held = [&] {
    std::vector<int> bytes;
    for (int byte = 90; byte < 220; ++byte) {
      struct flock lock{};
      lock.l_type = F_WRLCK;
      lock.l_whence = SEEK_SET;
      lock.l_start = byte;
      lock.l_len = 1;
      EXPECT_EQ(::fcntl(fd, F_OFD_GETLK, &lock), 0);
      if (lock.l_type == F_UNLCK) continue;
      EXPECT_EQ(lock.l_type, F_RDLCK);
      bytes.push_back(byte);
    }
    return bytes;
  };
  {
    auto writer = open_file(path_, writing());
    EXPECT_EQ(held(), (std::vector{100, 101, 103, 201, 203}));
  }
  {
    auto reader = open_file(path_, reading());
    EXPECT_EQ(held(), (std::vector{100, 201, 203}));
  }
  {
    auto shared = open_file(path_, sharing());
    EXPECT_EQ(held(), (std::vector{100}));
  }
  EXPECT_EQ(held(), std::vector<int>());
  ::close(fd);
}

class FileBelow : public FileTest {
 protected:
  void SetUp() override {
    FileTest::SetUp();
    inside_ = directory_.file("inside");
    ASSERT_EQ(::mkdir(inside_.c_str(), 0700), 0);
    ASSERT_EQ(::mkdir((inside_ + "/sub").c_str(), 0700), 0);
    make_file(inside_ + "/sub/base", "base");
  }
  std::string inside_;
};

TEST_F(FileBelow, OpensWhatIsBelowTheDirectory) {
  for (const char* name : {"sub/base", "./sub/../sub/base"}) {
    auto storage = open_file_below(inside_, name, reading());
    ASSERT_TRUE(storage) << storage.error().message();
    EXPECT_EQ(read_all(**storage), "base");
  }
  EXPECT_EQ((*open_file_below(inside_, "sub/base", reading()))->name(), inside_ + "/sub/base");
}

TEST_F(FileBelow, RefusesWhatLeadsOut) {
  ASSERT_EQ(::symlink(path_.c_str(), (inside_ + "/absolute").c_str()), 0);
  ASSERT_EQ(::symlink("../image", (inside_ + "/relative").c_str()), 0);
  for (const std::string& name : {std::string("../image"), path_, std::string("sub/../../image"),
                                  std::string("absolute"), std::string("relative")}) {
    const auto opened = open_file_below(inside_, name, reading());
    ASSERT_FALSE(opened) << name;
    EXPECT_EQ(opened.error().code(), ErrorCode::refused) << opened.error().message();
    EXPECT_NE(opened.error().message().find("leads out of the directory"), std::string::npos);
  }
}

TEST_F(FileBelow, NamesAMissingFileAndRefusesDevices) {
  const auto missing = open_file_below(inside_, "missing", reading());
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::not_found);
  const auto directory = open_file_below(inside_, "sub", reading());
  ASSERT_FALSE(directory);
  EXPECT_EQ(directory.error().code(), ErrorCode::invalid_argument);
  EXPECT_FALSE(open_file_below(inside_, std::string_view("a\0b", 3), reading()));
  EXPECT_FALSE(open_file_below(inside_, "", reading()));
}

TEST_F(FileTest, PunchAndZeroGiveSpaceBackOnlyIfAllowed) {
  for (const DiscardMode discard : {DiscardMode::unmap, DiscardMode::ignore}) {
    FileOptions options = writing();
    options.discard = discard;
    auto storage = open_file(path_, options);
    ASSERT_TRUE(storage);
    std::vector<std::byte> bytes(1 << 20, std::byte{1});
    ASSERT_TRUE(loop_->run(write_bytes(**storage, 0, bytes)));
    ASSERT_TRUE(loop_->run((*storage)->flush()));
    const auto full = (*storage)->allocated_bytes();
    ASSERT_GE(full, 1u << 20);
    ASSERT_TRUE(loop_->run((*storage)->zero(0, 1 << 18, false)));
    EXPECT_GE((*storage)->allocated_bytes(), 1u << 20);
    ASSERT_TRUE(loop_->run((*storage)->zero(0, 1 << 18, true)));
    ASSERT_TRUE(loop_->run((*storage)->punch(1 << 19, 1 << 18)));
    if (discard == DiscardMode::unmap) {
      EXPECT_LE((*storage)->allocated_bytes(), *full - (1u << 19));
    } else {
      EXPECT_GE((*storage)->allocated_bytes(), 1u << 20);
    }
  }
}

// The file size limit of the process stands for a full disk: EFBIG and ENOSPC take the same way.
TEST_F(FileTest, RemembersAStretchOfDataOnlyUntilItChanges) {
  auto storage = *open_file(path_, writing());
  const std::vector<std::byte> data(1 << 20, std::byte{7});
  ASSERT_TRUE(loop_->run(write_bytes(*storage, 0, data)));
  EXPECT_EQ(loop_->run(storage->extent_at(0))->length_bytes, data.size());
  EXPECT_EQ(loop_->run(storage->extent_at(4096))->length_bytes, data.size() - 4096);
  ASSERT_TRUE(loop_->run(storage->punch(1 << 19, 1 << 16)));
  EXPECT_FALSE(loop_->run(storage->extent_at(1 << 19))->data);
  EXPECT_EQ(loop_->run(storage->extent_at(0))->length_bytes, 1u << 19);
  ASSERT_TRUE(loop_->run(storage->resize(4096)));
  EXPECT_EQ(loop_->run(storage->extent_at(0))->length_bytes, 4096u);
  ASSERT_TRUE(loop_->run(storage->resize(1 << 20)));
  EXPECT_FALSE(loop_->run(storage->extent_at(8192))->data);
}

TEST_F(FileTest, AWriteThatFindsNoSpaceIsAnErrorAndLeavesTheSizeAsItReallyIs) {
  auto storage = open_file(path_, writing());
  ASSERT_TRUE(storage);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  rlimit limited = before;
  limited.rlim_cur = 8192;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limited), 0);
  const std::vector<std::byte> bytes(10000, std::byte{1});
  const auto partial = loop_->run(write_bytes(**storage, 0, bytes));
  const std::uint64_t size_after_partial = (*storage)->size_bytes();
  const auto behind = loop_->run(write_bytes(**storage, 10000, bytes));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, handler);
  ASSERT_FALSE(partial);
  EXPECT_EQ(partial.error().code(), ErrorCode::no_space) << partial.error().message();
  EXPECT_EQ(size_after_partial, 8192u);
  ASSERT_FALSE(behind);
  EXPECT_EQ(behind.error().message(), path_ + ": write of 10000 bytes at 10000: File too large");
}

TEST(CacheModeName, IsTheOneOfTheCommandLine) {
  for (const char* name : {"writeback", "none", "writethrough", "directsync", "unsafe"}) {
    ASSERT_TRUE(parse_cache_mode(name));
    EXPECT_EQ(cache_mode_name(*parse_cache_mode(name)), name);
  }
  EXPECT_FALSE(parse_cache_mode("writeBack"));
}

}  // namespace
}  // namespace byre
