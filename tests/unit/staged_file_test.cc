// A file that is made beside the one that it replaces: what NAME is before, meanwhile and after; what is written in
// place; two at a time; names that change meanwhile.

#include "storage/staged_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <thread>
#include <vector>

#include "byre/task/pollers.h"
#include "support/temporary_directory.h"

namespace byre {
namespace {

namespace fs = std::filesystem;

class Staged : public testing::Test {
 protected:
  Staged() : loop_(std::move(*make_event_loop(IoMode::threads))), name_(directory_.file("image")) {}

  static void make_file(const std::string& path, const std::string& content) { std::ofstream(path) << content; }
  static std::string content(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static Result<std::unique_ptr<StagedFile>> open(const std::string& path, bool resume = false) {
    StagingOptions options;
    options.resume = resume;
    return StagedFile::open(path, options);
  }
  void write(StagedFile& staged, const std::string& text) {
    const ConstBytes bytes = std::as_bytes(std::span(text));
    ASSERT_TRUE(loop_->run(write_bytes(staged.storage(), 0, bytes)));
  }
  // Null, and with resume a refusal that says why.
  void expect_in_place(const std::string& path, const std::string& words) {
    const auto opened = open(path);
    ASSERT_TRUE(opened) << opened.error().message();
    EXPECT_EQ(*opened, nullptr) << path;
    const auto resumed = open(path, true);
    ASSERT_FALSE(resumed);
    EXPECT_EQ(resumed.error().code(), ErrorCode::refused);
    EXPECT_NE(resumed.error().message().find(words), std::string::npos) << resumed.error().message();
    EXPECT_FALSE(fs::exists(path + ".partial"));
  }
  static void expect_error(const auto& result, ErrorCode code, const std::string& words) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code(), code) << result.error().message();
    EXPECT_NE(result.error().message().find(words), std::string::npos) << result.error().message();
  }
  std::string partial() const { return name_ + ".partial"; }

  TemporaryDirectory directory_;
  std::unique_ptr<EventLoop> loop_;
  const std::string name_;
};

TEST_F(Staged, HasItsNameWhenItIsComplete) {
  auto staged = open(name_);
  ASSERT_TRUE(staged && *staged);
  EXPECT_FALSE((*staged)->replaces());
  write(**staged, "new");
  EXPECT_FALSE(fs::exists(name_));
  ASSERT_TRUE((*staged)->take_place());
  EXPECT_EQ(content(name_), "new");
  EXPECT_FALSE(fs::exists(partial()));
}

TEST_F(Staged, LeavesTheOldFileUntilThenAndTakesOverWhatItHadBesideItsContent) {
  make_file(name_, "old");
  ASSERT_EQ(::chmod(name_.c_str(), 0640), 0);
  const bool attributes = ::setxattr(name_.c_str(), "user.note", "kept", 4, 0) == 0;
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown(name_.c_str(), 12, 34), 0);
  }
  auto staged = open(name_);
  ASSERT_TRUE(staged && *staged);
  EXPECT_TRUE((*staged)->replaces());
  write(**staged, "new");
  EXPECT_EQ(content(name_), "old");
  struct stat status{};
  ASSERT_EQ(::stat(partial().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640u);  // nobody may read it who may not read the old one
  ASSERT_TRUE((*staged)->take_place());
  EXPECT_EQ(content(name_), "new");
  EXPECT_FALSE(fs::exists(partial()));
  ASSERT_EQ(::stat(name_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640u);
  if (::geteuid() == 0) {
    EXPECT_EQ(status.st_uid * 100 + status.st_gid, 1234u);
  }
  char value[8] = {};
  if (attributes) {
    ASSERT_EQ(::getxattr(name_.c_str(), "user.note", value, sizeof value), 4);
    EXPECT_EQ(std::string(value, 4), "kept");
  }
}

TEST_F(Staged, IsGoneWhenDiscarded) {
  make_file(name_, "old");
  auto staged = open(name_);
  ASSERT_TRUE(staged && *staged);
  write(**staged, "new");
  ASSERT_TRUE((*staged)->discard());
  EXPECT_EQ(content(name_), "old");
  EXPECT_FALSE(fs::exists(partial()));
}

// Whose space is freed late.
TEST_F(Staged, IsGoneWhenDiscardedAlsoIfItIsLong) {
  auto staged = open(name_);
  ASSERT_TRUE(staged && *staged);
  ASSERT_TRUE(loop_->run((*staged)->storage().allocate(0, 80 << 20)));
  ASSERT_TRUE((*staged)->discard());
  EXPECT_FALSE(fs::exists(partial()));
  EXPECT_TRUE(open(name_));
}

TEST_F(Staged, IsMadeBesideWhatALinkLeadsTo) {
  fs::create_directory(directory_.file("real"));
  make_file(directory_.file("real/image"), "old");
  fs::create_symlink("real/image", name_);
  auto staged = open(name_);
  ASSERT_TRUE(staged && *staged);
  EXPECT_EQ((*staged)->partial_path(), fs::canonical(directory_.file("real")).string() + "/image.partial");
  EXPECT_EQ(StagedFile::partial_path(name_), (*staged)->partial_path());
  write(**staged, "new");
  ASSERT_TRUE((*staged)->take_place());
  EXPECT_TRUE(fs::is_symlink(name_));
  EXPECT_EQ(content(directory_.file("real/image")), "new");
}

TEST_F(Staged, IsNotMadeWhereARenameWouldChangeMoreThanTheContent) {
  make_file(name_, "old");
  fs::create_hard_link(name_, directory_.file("second"));
  expect_in_place(name_, "more than one name");
  expect_in_place("/dev/null", "no regular file");
  fs::create_symlink("nowhere", directory_.file("link"));
  expect_in_place(directory_.file("link"), "leads nowhere");
  fs::remove(directory_.file("second"));
  const int file = ::open(name_.c_str(), O_RDWR | O_CLOEXEC);
  expect_in_place("/proc/self/fd/" + std::to_string(file), "another program has it open");
  ::close(file);
  EXPECT_EQ(content(name_), "old");
}

TEST_F(Staged, IsNotMadeInADirectoryThatTakesNoFile) {
  const std::string long_name = directory_.file(std::string(250, 'n'));
  make_file(long_name, "old");
  const auto opened = open(long_name);
  ASSERT_TRUE(opened) << opened.error().message();
  EXPECT_EQ(*opened, nullptr);
  expect_error(open(long_name, true), ErrorCode::io, "File name too long");
}

TEST_F(Staged, LeavesAFileAloneThatIsInUse) {
  make_file(name_, "old");
  const auto user = open_file(name_, {});
  ASSERT_TRUE(user);
  expect_error(open(name_), ErrorCode::locked, "another process has it open");
  EXPECT_FALSE(fs::exists(partial()));
}

TEST_F(Staged, IsMadeByOneAtATime) {
  for (const bool exists : {false, true}) {
    if (exists) make_file(name_, "old");
    auto first = open(name_);
    ASSERT_TRUE(first && *first);
    write(**first, "first");
    for (const bool resume : {false, true}) expect_error(open(name_, resume), ErrorCode::locked, "image");
    EXPECT_EQ(content(partial()), "first");
    ASSERT_TRUE((*first)->discard());
  }
}

// Whoever opens NAME.partial while its maker gives it its name must not take it for a partial one.
void make_and_discard(const std::string& name, int count, int& foreign) {
  const auto loop = *make_event_loop(IoMode::threads);
  for (int i = 0; i < count; ++i) {
    StagingOptions options;
    options.cache = CacheMode::unsafe;
    options.resume = i % 2 == 0;
    ::unlink(name.c_str());  // whose lock would keep the others away
    auto staged = StagedFile::open(name, options);
    if (!staged || !*staged) continue;  // null: the name has gone meanwhile, with the mode that was to be taken over
    struct stat status{};
    const bool there = ::stat((*staged)->partial_path().c_str(), &status) == 0;
    foreign += !there || status.st_ino != (*staged)->storage().identity().inode;
    const auto done = i % 3 == 0 ? (*staged)->discard() : (*staged)->take_place();
    EXPECT_TRUE(done || done.error().code() == ErrorCode::refused) << done.error().message();
  }
}

TEST_F(Staged, IsNoOthersWhenSeveralMakeItAllTheTime) {
  std::array<int, 6> foreign{};
  std::vector<std::thread> threads;
  for (int& count : foreign) threads.emplace_back(make_and_discard, name_, 4000, std::ref(count));
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(std::accumulate(foreign.begin(), foreign.end(), 0), 0);
}

TEST_F(Staged, RemovesWhatAKilledRunHasLeft) {
  make_file(partial(), "left");
  fs::create_hard_link(partial(), directory_.file("second"));
  auto staged = open(name_);
  ASSERT_TRUE(staged && *staged);
  EXPECT_FALSE((*staged)->resumed());
  EXPECT_EQ((*staged)->storage().size_bytes(), 0u);
  write(**staged, "new");
  EXPECT_EQ(content(directory_.file("second")), "left");
}

TEST_F(Staged, GoesOnWithWhatAKilledRunHasLeft) {
  make_file(partial(), "left");
  auto staged = open(name_, true);
  ASSERT_TRUE(staged && *staged);
  EXPECT_TRUE((*staged)->resumed());
  EXPECT_EQ((*staged)->storage().size_bytes(), 4u);
  staged->reset();
  fs::create_hard_link(partial(), directory_.file("second"));
  expect_error(open(name_, true), ErrorCode::refused, "more than one name");
  fs::remove(directory_.file("second"));
  if (::geteuid() != 0) return;
  ASSERT_EQ(::chown(partial().c_str(), 12, 34), 0);
  expect_error(open(name_, true), ErrorCode::refused, "another user");
}

TEST_F(Staged, TakesNoNameThatIsNoFile) {
  make_file(directory_.file("precious"), "precious");
  fs::create_symlink("precious", partial());
  for (const bool resume : {false, true}) expect_error(open(name_, resume), ErrorCode::refused, "is in the way");
  EXPECT_EQ(content(directory_.file("precious")), "precious");
  fs::remove(partial());
  fs::create_directory(partial());
  for (const bool resume : {false, true}) expect_error(open(name_, resume), ErrorCode::refused, "is in the way");
}

TEST_F(Staged, DoesNotTakeANameThatHasComeToMeanSomethingElse) {
  for (const bool exists : {false, true}) {
    if (exists) make_file(name_, "old");
    auto staged = open(name_);
    ASSERT_TRUE(staged && *staged);
    write(**staged, "new");
    make_file(directory_.file("other"), "of somebody else");
    fs::rename(directory_.file("other"), name_);
    expect_error((*staged)->take_place(), ErrorCode::refused, "another file has got this name");
    EXPECT_FALSE((*staged)->placed());
    EXPECT_EQ(content(name_), "of somebody else");
    ASSERT_TRUE((*staged)->discard());
  }
}

TEST_F(Staged, DoesNotRemoveANameThatHasComeToMeanSomethingElse) {
  auto staged = open(name_);
  ASSERT_TRUE(staged && *staged);
  make_file(directory_.file("other"), "of somebody else");
  fs::rename(directory_.file("other"), partial());
  EXPECT_FALSE((*staged)->discard());
  EXPECT_FALSE((*staged)->take_place());
  EXPECT_EQ(content(partial()), "of somebody else");
  EXPECT_FALSE(fs::exists(name_));
}

}  // namespace
}  // namespace byre
