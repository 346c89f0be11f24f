// Each permission has two bytes: 100 + p is share-locked by those who use it, 200 + p by those who do not tolerate
// that others use it. An opener first takes its own locks and then looks for those that contradict: of two that come
// at the same time both may give up, but never do both go on. All locks are shared, so that taking them cannot fail
// by itself, and the look is a question for an exclusive lock, which an opener's own locks do not answer.
// A reader that shares at its own risk still says that it reads, as the reference does, and looks for nobody.

#include "storage/file_lock.h"

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/text.h"

namespace byre {
namespace {

enum Permission : std::uint8_t { consistent_read = 0, write = 1, resize = 3 };
constexpr off_t using_base = 100;
constexpr off_t refusing_base = 200;

constexpr std::array reader_uses{consistent_read};
constexpr std::array writer_uses{consistent_read, write, resize};
constexpr std::array refused_to_others{write, resize};

bool locks_are_missing(int errno_value) {
  return errno_value == EINVAL || errno_value == ENOLCK || errno_value == EOPNOTSUPP || errno_value == ENOSYS;
}

struct flock byte_lock(off_t byte, short type) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return lock;
}

// Returns 0 or errno.
int take(int fd, off_t byte) {
  struct flock lock = byte_lock(byte, F_RDLCK);
  int status = 0;
  do {
    status = ::fcntl(fd, F_OFD_SETLK, &lock);
  } while (status != 0 && errno == EINTR);
  return status == 0 ? 0 : errno;
}

bool held_by_another(int fd, off_t byte) {
  struct flock lock = byte_lock(byte, F_WRLCK);
  return ::fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

std::unexpected<Error> refusal(const std::string& name, LockIntent intent, bool other_writes) {
  const std::string_view why = other_writes ? "another process has it open for writing"
                                            : "another process has it open and relies on its staying as it is";
  const std::string_view way_on =
      intent == LockIntent::write
          ? "close it there first"
          : "close it there, or pass -U/--force-share to read it anyway; what is read may be inconsistent";
  return fail_in(name, ErrorCode::locked, "{}: {}", why, way_on);
}

Result<void> take_all(int fd, const std::string& name, off_t base, std::span<const Permission> permissions) {
  for (Permission permission : permissions) {
    const int errno_value = take(fd, base + permission);
    if (errno_value == EACCES || errno_value == EAGAIN) {
      return fail_in(name, ErrorCode::locked, "another process holds an exclusive lock on it");
    }
    if (errno_value != 0 && !locks_are_missing(errno_value)) {
      return std::unexpected(Error::from_errno(errno_value, "cannot lock it").in_file(name));
    }
  }
  return {};
}

}  // namespace

Result<void> lock_image_file(int fd, const std::string& name, LockIntent intent) {
  const std::span<const Permission> uses =
      intent == LockIntent::write ? std::span<const Permission>(writer_uses) : std::span<const Permission>(reader_uses);
  BYRE_CHECK(take_all(fd, name, using_base, uses));
  if (intent == LockIntent::read_shared) return {};
  BYRE_CHECK(take_all(fd, name, refusing_base, refused_to_others));
  for (Permission permission : refused_to_others) {
    if (held_by_another(fd, using_base + permission)) return refusal(name, intent, true);
  }
  for (Permission permission : uses) {
    if (held_by_another(fd, refusing_base + permission)) return refusal(name, intent, false);
  }
  return {};
}

void unlock_image_file(int fd) {
  struct flock lock{};
  lock.l_type = F_UNLCK;
  lock.l_whence = SEEK_SET;  // from 0 on, length 0: everything
  ::fcntl(fd, F_OFD_SETLK, &lock);
}

}  // namespace byre
