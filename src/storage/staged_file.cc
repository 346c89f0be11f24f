// The name is exchanged with that of the old file, which is removed then: so there is a file of that name at every
// moment, what is removed is known to be what was locked, and ext4 does not hold up a rename until the new file's
// blocks have places on the disk, which is for the cache mode to decide.
//
// Whoever opens NAME.partial may get a file that has just become NAME, or was removed: a lock counts only if the name
// still leads to the file that was locked. The lock is held until the name has changed.

#include "storage/staged_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "storage/file_attributes.h"

namespace byre {
namespace {

constexpr std::string_view suffix = ".partial";

// A descriptor for questions about a file. It takes no locks.
class UnlockedFile {
 public:
  explicit UnlockedFile(const std::string& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)) {}
  UnlockedFile(const UnlockedFile&) = delete;
  UnlockedFile& operator=(const UnlockedFile&) = delete;
  ~UnlockedFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  const int fd_;
};

bool is_file(const std::string& path, const StorageIdentity& identity) {
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0 && StorageIdentity{status.st_dev, status.st_ino} == identity;
}

std::string shown(std::string_view name) { return escape_untrusted(name, 4096); }

// /proc/self/fd/1 and the like, which /dev/stdout leads to: whoever has it open would keep the old file.
bool leads_through_proc(const std::string& path) {
  struct open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_NO_MAGICLINKS;
  const int fd = static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how));
  if (fd >= 0) ::close(fd);
  return fd < 0 && errno == ELOOP;
}

bool is_mount_point(const std::string& path) {
  struct statx status{};
  if (::statx(AT_FDCWD, path.c_str(), 0, STATX_TYPE, &status) != 0) return false;
  return (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

// Why the file cannot be replaced by another one; nothing if it can.
std::optional<std::string_view> obstacle(const std::string& path) {
  struct stat status{};
  if (path.empty() || path.find('\0') != std::string::npos) return "it is no file name";
  if (leads_through_proc(path)) return "another program has it open under this name";
  if (::stat(path.c_str(), &status) != 0) {
    if (::lstat(path.c_str(), &status) == 0) return "it is a symbolic link that leads nowhere";
    return std::nullopt;
  }
  if (!S_ISREG(status.st_mode)) return "it is no regular file";
  if (status.st_nlink > 1) return "it has more than one name (hard links)";
  if (status.st_uid != ::geteuid() && ::geteuid() != 0) return "it belongs to another user";
  if (is_mount_point(path)) return "it is a mount point";
  return std::nullopt;
}

// Follows symbolic links of the last component; a name that is free stays as it is.
std::string real_path(const std::string& path) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISLNK(status.st_mode)) return path;
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(path, error);
  return error ? path : real.string();
}

bool takes_no_file(int errno_value) {
  constexpr std::array reasons{EACCES, EPERM, EROFS, ENAMETOOLONG, ENOENT, ENOTDIR, ELOOP};
  for (const int reason : reasons) {
    if (reason == errno_value) return true;
  }
  return false;
}

// Returns 0 or errno.
int rename_with(const std::string& from, const std::string& to, unsigned flags) {
  const long status = ::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags);
  return status == 0 ? 0 : errno;
}

bool flags_are_missing(int errno_value) { return errno_value == EINVAL || errno_value == ENOSYS; }

Result<void> sync_directory(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  const UnlockedFile directory(parent.empty() ? "." : parent);
  if (directory.get() >= 0 && (::fsync(directory.get()) == 0 || errno == EINVAL)) return {};
  return std::unexpected(Error::from_errno(errno, "the directory cannot be made durable").in_file(path));
}

}  // namespace

std::string StagedFile::partial_path(const std::string& path) { return real_path(path) + std::string(suffix); }

StagedFile::StagedFile(std::string path, std::string real_path, CacheMode cache)
    : path_(std::move(path)),
      real_path_(std::move(real_path)),
      partial_path_(real_path_ + std::string(suffix)),
      cache_(cache) {}

Result<std::unique_ptr<StagedFile>> StagedFile::open(std::string path, StagingOptions options) {
  const auto give_way = [&](std::string_view reason) -> Result<std::unique_ptr<StagedFile>> {
    if (!options.resume) return nullptr;
    return fail_in(path, ErrorCode::refused, "such a file is written in place, which cannot be gone on with: {}",
                   reason);
  };
  if (const auto reason = obstacle(path)) return give_way(*reason);
  std::unique_ptr<StagedFile> staged(new StagedFile(path, real_path(path), options.cache));
  FileOptions hold;
  hold.writable = true;
  auto former = open_file(path, hold);
  if (!former && former.error().code() != ErrorCode::not_found) return std::unexpected(std::move(former).error());
  if (former) staged->former_ = *std::move(former);
  const Result<void> opened = staged->open_partial(options);
  if (!opened) {
    if (!options.resume && takes_no_file(opened.error().errno_value())) return nullptr;
    return std::unexpected(opened.error());
  }
  if (!staged->former_ || staged->take_over_former()) return staged;
  if (!options.resume) BYRE_CHECK(staged->discard());
  return give_way("its owner, mode or attributes cannot be given to another file");
}

Result<void> StagedFile::open_partial(const StagingOptions& options) {
  int tries = 16;  // others make and remove it at the same time
  while (tries-- > 0) {
    BYRE_TRY(const bool done, try_partial(options));
    if (done) return {};
  }
  return fail_in(partial_path_, ErrorCode::locked, "other processes keep making and removing it");
}

// False: the name has come to mean something else, or is free now.
Result<bool> StagedFile::try_partial(const StagingOptions& options) {
  struct stat status{};
  if (::lstat(partial_path_.c_str(), &status) == 0) return take_existing(options);
  if (errno != ENOENT) return std::unexpected(Error::from_errno(errno, shown(partial_path_)).in_file(partial_path_));
  FileOptions create;
  create.writable = create.create = create.exclusive = true;
  create.cache = cache_;
  if (former_) create.mode = 0600;  // until it has the mode of the old file
  auto made = open_file(partial_path_, create);
  if (!made && made.error().errno_value() == EEXIST) return false;
  if (!made) return std::unexpected(std::move(made).error());
  if (!is_file(partial_path_, (*made)->identity())) return false;
  partial_ = *std::move(made);
  return true;
}

Result<bool> StagedFile::take_existing(const StagingOptions& options) {
  struct stat status{};
  if (::lstat(partial_path_.c_str(), &status) != 0) return false;
  if (!S_ISREG(status.st_mode)) {
    return fail_in(partial_path_, ErrorCode::refused, "is in the way: it is no regular file; remove it first");
  }
  FileOptions writable;
  writable.writable = true;
  if (options.resume) writable.cache = cache_;
  auto existing = open_file(partial_path_, writable);
  if (!existing && existing.error().code() == ErrorCode::not_found) return false;
  if (!existing) return std::unexpected(std::move(existing).error());
  if (!is_file(partial_path_, (*existing)->identity())) return false;
  if (!options.resume) {
    if (::unlink(partial_path_.c_str()) == 0) return false;
    return std::unexpected(Error::from_errno(errno, "cannot remove it").in_file(partial_path_));
  }
  if (status.st_nlink > 1 || !may_own(status.st_uid)) {
    return fail_in(partial_path_, ErrorCode::refused,
                   "cannot be gone on with: it has more than one name, or belongs to another user; remove it first");
  }
  partial_ = *std::move(existing);
  resumed_ = partial_->size_bytes() > 0;
  return true;
}

// Whoever owns a file can have it open, and write to it later.
bool StagedFile::may_own(uid_t user) const {
  struct stat status{};
  if (user == ::geteuid()) return true;
  return former_ && ::lstat(real_path_.c_str(), &status) == 0 && status.st_uid == user;
}

bool StagedFile::take_over_former() const {
  const UnlockedFile from(real_path_);
  const UnlockedFile to(partial_path_);
  return from.get() >= 0 && to.get() >= 0 && take_over_attributes(from.get(), to.get());
}

Error StagedFile::failure(int errno_value) const {
  if (errno_value == EEXIST || errno_value == ENOENT) {
    return Error(ErrorCode::refused,
                 "another file has got this name, or that of " + shown(partial_path_) + ", while the new one was made")
        .in_file(path_);
  }
  return Error::from_errno(errno_value, fmt::format("cannot give {} this name", shown(partial_path_))).in_file(path_);
}

Result<void> StagedFile::sync_partial() const {
  const UnlockedFile file(partial_path_);
  if (file.get() >= 0 && ::fsync(file.get()) == 0) return {};
  return std::unexpected(Error::from_errno(errno, "flush").in_file(partial_path_));
}

// The name was free. Without the flag, a look must do.
Result<void> StagedFile::move_to_free_name() {
  int errno_value = rename_with(partial_path_, real_path_, RENAME_NOREPLACE);
  if (flags_are_missing(errno_value)) {
    struct stat status{};
    const bool is_free = ::lstat(real_path_.c_str(), &status) != 0 && errno == ENOENT;
    errno_value = is_free ? rename_with(partial_path_, real_path_, 0) : EEXIST;
  }
  if (errno_value != 0) return std::unexpected(failure(errno_value));
  return {};
}

// What has the name now must be what was locked: anything else gets its name back.
Result<void> StagedFile::swap() {
  if (!is_file(real_path_, former_->identity())) return std::unexpected(failure(EEXIST));
  const int errno_value = rename_with(partial_path_, real_path_, RENAME_EXCHANGE);
  if (flags_are_missing(errno_value)) {
    const int renamed = rename_with(partial_path_, real_path_, 0);
    if (renamed != 0) return std::unexpected(failure(renamed));
    return {};
  }
  if (errno_value != 0) return std::unexpected(failure(errno_value));
  if (!is_file(partial_path_, former_->identity())) {
    rename_with(partial_path_, real_path_, RENAME_EXCHANGE);
    return std::unexpected(failure(EEXIST));
  }
  former_release_ = std::make_unique<LateRelease>(partial_path_);
  ::unlink(partial_path_.c_str());
  return {};
}

Result<void> StagedFile::take_place() {
  if (!is_file(partial_path_, partial_->identity())) return std::unexpected(failure(ENOENT));
  if (cache_ != CacheMode::unsafe) BYRE_CHECK(sync_partial());
  BYRE_CHECK(former_ ? swap() : move_to_free_name());
  placed_ = true;
  if (cache_ == CacheMode::unsafe) return {};
  return sync_directory(real_path_);
}

Result<void> StagedFile::discard() {
  if (!is_file(partial_path_, partial_->identity())) return std::unexpected(failure(ENOENT));
  const LateRelease release(partial_path_);
  if (::unlink(partial_path_.c_str()) != 0) {
    return std::unexpected(Error::from_errno(errno, "cannot remove it").in_file(partial_path_));
  }
  partial_.reset();
  return {};
}

}  // namespace byre
