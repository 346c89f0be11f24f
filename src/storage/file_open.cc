// Opening: the name is looked up once, without waiting (O_NONBLOCK: a FIFO would wait for its other end), then all
// questions go to the descriptor. Nothing is cut off or written before the kind is known and the locks are held, so
// that O_TRUNC is never used.

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <utility>

#include "base/text.h"
#include "storage/file_lock.h"
#include "storage/host_file.h"

namespace byre {
namespace {

constexpr std::array<std::pair<std::string_view, CacheMode>, 5> cache_mode_names{{
    {"writeback", CacheMode::writeback},
    {"none", CacheMode::none},
    {"writethrough", CacheMode::writethrough},
    {"directsync", CacheMode::directsync},
    {"unsafe", CacheMode::unsafe},
}};

bool is_direct(CacheMode mode) { return mode == CacheMode::none || mode == CacheMode::directsync; }
bool is_synchronous(CacheMode mode) { return mode == CacheMode::writethrough || mode == CacheMode::directsync; }

std::string quoted(std::string_view name) { return escape_untrusted(name, 4096); }

Result<void> check_options(const std::string& name, const FileOptions& options) {
  if ((options.create || options.truncate) && !options.writable) {
    return fail(ErrorCode::invalid_argument, "{}: to create or truncate it, it must be opened for writing",
                quoted(name));
  }
  if (options.exclusive && !options.create) {
    return fail(ErrorCode::invalid_argument, "{}: 'exclusive' has a meaning only with 'create'", quoted(name));
  }
  if (options.writable && options.locking == Locking::force_share) {
    return fail(ErrorCode::invalid_argument, "{}: -U/--force-share is for reading; open it read-only", quoted(name));
  }
  if (name.empty() || name.find('\0') != std::string::npos) {
    return fail(ErrorCode::invalid_argument, "'{}' is not a file name", quoted(name));
  }
  return {};
}

int open_flags(const FileOptions& options) {
  int flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (options.writable ? O_RDWR : O_RDONLY);
  if (options.create) flags |= O_CREAT;
  if (options.exclusive) flags |= O_EXCL;
  if (is_synchronous(options.cache)) flags |= O_DSYNC;
  return flags;
}

std::unexpected<Error> wrong_kind(const std::string& name, std::string_view kind) {
  return fail_in(name, ErrorCode::invalid_argument, "is {}; only regular files and block devices can hold an image",
                 kind);
}

std::unexpected<Error> open_failure(const std::string& name, int errno_value) {
  if (errno_value == EISDIR) return wrong_kind(name, "a directory");
  if (errno_value == ENXIO) return wrong_kind(name, "a socket, a FIFO or a device without a driver");
  return std::unexpected(Error::from_errno(errno_value, quoted(name)).in_file(name));
}

Result<void> check_kind(const std::string& name, mode_t mode) {
  if (S_ISREG(mode) || S_ISBLK(mode)) return {};
  if (S_ISDIR(mode)) return wrong_kind(name, "a directory");
  if (S_ISFIFO(mode)) return wrong_kind(name, "a FIFO");
  if (S_ISSOCK(mode)) return wrong_kind(name, "a socket");
  if (S_ISCHR(mode)) return wrong_kind(name, "a character device");
  return wrong_kind(name, "of an unknown kind");
}

// Ends O_NONBLOCK (io_uring would take it as "fail rather than wait") and sets O_DIRECT if asked for.
Result<void> set_flags(const ImageDescriptor& descriptor, const std::string& name, CacheMode cache) {
  if (::fcntl(descriptor.get(), F_SETFL, is_direct(cache) ? O_DIRECT : 0) == 0) return {};
  if (is_direct(cache) && errno == EINVAL) {
    return fail_in(name, ErrorCode::unsupported, "its file system has no direct I/O (cache mode '{}'); use 'writeback'",
                   cache_mode_name(cache));
  }
  return std::unexpected(Error::from_errno(errno, quoted(name)).in_file(name));
}

Result<DirectAlignment> query_alignment(const ImageDescriptor& descriptor, const std::string& name) {
  DirectAlignment alignment;
#ifdef STATX_DIOALIGN
  struct statx status{};
  const bool known = ::statx(descriptor.get(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
                     (status.stx_mask & STATX_DIOALIGN) != 0;
  if (known) alignment = {status.stx_dio_offset_align, status.stx_dio_mem_align};
#endif
  const auto usable = [](std::uint32_t value) { return std::has_single_bit(value) && value <= 4096; };
  if (!usable(alignment.offset_bytes) || !usable(alignment.memory_bytes)) {
    return fail_in(name, ErrorCode::unsupported,
                   "direct I/O is not possible on it (alignment {}, memory {}); use 'writeback'",
                   alignment.offset_bytes, alignment.memory_bytes);
  }
  return alignment;
}

Result<std::uint64_t> find_size(const OpenedFile& opened) {
  struct stat status{};
  if (::fstat(opened.descriptor.get(), &status) != 0) {
    return std::unexpected(Error::from_errno(errno, quoted(opened.name)).in_file(opened.name));
  }
  if (!opened.device) return static_cast<std::uint64_t>(status.st_size);
  std::uint64_t size_bytes = 0;
  if (::ioctl(opened.descriptor.get(), BLKGETSIZE64, &size_bytes) != 0) {
    return std::unexpected(Error::from_errno(errno, "cannot ask the device for its size").in_file(opened.name));
  }
  return size_bytes;
}

LockIntent lock_intent(const FileOptions& options) {
  if (options.writable) return LockIntent::write;
  return options.locking == Locking::force_share ? LockIntent::read_shared : LockIntent::read;
}

// Takes what open(2) returned, checks it and puts the storage around it.
Result<std::unique_ptr<Storage>> finish_opening(ImageDescriptor descriptor, std::string name, FileOptions options) {
  struct stat status{};
  if (::fstat(descriptor.get(), &status) != 0)
    return std::unexpected(Error::from_errno(errno, quoted(name)).in_file(name));
  BYRE_CHECK(check_kind(name, status.st_mode));
  BYRE_CHECK(set_flags(descriptor, name, options.cache));
  BYRE_CHECK(lock_image_file(descriptor.get(), name, lock_intent(options)));
  const bool device = S_ISBLK(status.st_mode);
  if (options.truncate && !device && ::ftruncate(descriptor.get(), 0) != 0) {
    return std::unexpected(Error::from_errno(errno, "cannot truncate it").in_file(name));
  }
  OpenedFile opened{std::move(descriptor), std::move(name), options, device, 0, {status.st_dev, status.st_ino}};
  // One device may have several nodes; its number is what it is. No inode has the number 0.
  if (device) opened.identity = {status.st_rdev, 0};
  BYRE_TRY(opened.size_bytes, find_size(opened));
  if (!is_direct(options.cache)) return std::make_unique<BufferedFile>(std::move(opened));
  BYRE_TRY(const DirectAlignment alignment, query_alignment(opened.descriptor, opened.name));
  return std::make_unique<DirectFile>(std::move(opened), alignment);
}

int open_beneath(int directory, const std::string& name, const FileOptions& options) {
  struct open_how how{};
  how.flags = static_cast<unsigned>(open_flags(options));
  how.mode = options.create ? options.mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  int fd = -1;
  int tries = 16;  // EAGAIN: something was renamed while the kernel looked
  do {
    fd = static_cast<int>(::syscall(SYS_openat2, directory, name.c_str(), &how, sizeof how));
  } while (fd < 0 && (errno == EINTR || (errno == EAGAIN && --tries > 0)));
  return fd;
}

}  // namespace

std::string_view cache_mode_name(CacheMode mode) {
  for (const auto& [name, value] : cache_mode_names) {
    if (value == mode) return name;
  }
  return "unknown";
}

std::optional<CacheMode> parse_cache_mode(std::string_view name) {
  if (name == "off") return CacheMode::none;  // the older spelling
  for (const auto& [known, value] : cache_mode_names) {
    if (known == name) return value;
  }
  return std::nullopt;
}

Result<std::unique_ptr<Storage>> open_file(std::string path, FileOptions options) {
  BYRE_CHECK(check_options(path, options));
  int fd = -1;
  do {
    fd = ::open(path.c_str(), open_flags(options), options.mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return open_failure(path, errno);
  return finish_opening(ImageDescriptor(fd), std::move(path), options);
}

Result<std::unique_ptr<Storage>> open_file_below(const std::string& directory, std::string_view relative_name,
                                                 FileOptions options) {
  std::string name(relative_name);
  BYRE_CHECK(check_options(name, options));
  const ImageDescriptor below(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (below.get() < 0) return std::unexpected(Error::from_errno(errno, quoted(directory)).in_file(directory));
  const int fd = open_beneath(below.get(), name, options);
  if (fd < 0 && (errno == EXDEV || errno == ELOOP)) {
    return fail(ErrorCode::refused, "'{}' leads out of the directory '{}', below which files must be", quoted(name),
                quoted(directory));
  }
  if (fd < 0 && (errno == ENOSYS || errno == EPERM || errno == E2BIG || errno == EINVAL)) {
    return fail(ErrorCode::refused, "'{}': this system cannot confine a file name to '{}' (openat2)", quoted(name),
                quoted(directory));
  }
  std::string full_name = directory.ends_with('/') ? directory + name : directory + "/" + name;
  if (fd < 0) return open_failure(full_name, errno);
  return finish_opening(ImageDescriptor(fd), std::move(full_name), options);
}

}  // namespace byre
