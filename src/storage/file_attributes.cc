// The owner goes first, which takes set-user-ID bits away, and the mode last. Attributes of security modules, and those
// that only the superuser sees, are tried and no more: a new file has such of its own, and the system says who may set
// them.
//
// Leaves out: times; the flags of chattr(1) but for the one that turns copying on write off.

#include "storage/file_attributes.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>
#include <vector>

namespace byre {
namespace {

constexpr const char* access_list = "system.posix_acl_access";

bool give_to_owner(const struct stat& from, int to) {
  struct stat now{};
  if (::fstat(to, &now) != 0) return false;
  if (now.st_uid == from.st_uid && now.st_gid == from.st_gid) return true;
  return ::fchown(to, from.st_uid, from.st_gid) == 0;
}

// Names end with a zero byte each. None where the file system has no such attributes.
std::optional<std::vector<std::string>> attribute_names(int file) {
  const ssize_t size = ::flistxattr(file, nullptr, 0);
  if (size < 0 && errno == EOPNOTSUPP) return std::vector<std::string>{};
  if (size < 0) return std::nullopt;
  std::string list(static_cast<std::size_t>(size), '\0');
  const ssize_t got = ::flistxattr(file, list.data(), list.size());
  if (got < 0) return std::nullopt;
  list.resize(static_cast<std::size_t>(got));
  std::vector<std::string> names;
  for (std::size_t at = 0; at < list.size(); at += names.back().size() + 1) names.emplace_back(list.c_str() + at);
  return names;
}

bool copy_attribute(int from, int to, const std::string& name) {
  const ssize_t size = ::fgetxattr(from, name.c_str(), nullptr, 0);
  if (size < 0) return false;
  std::string value(static_cast<std::size_t>(size), '\0');
  const ssize_t got = ::fgetxattr(from, name.c_str(), value.data(), value.size());
  if (got < 0) return false;
  return ::fsetxattr(to, name.c_str(), value.data(), static_cast<std::size_t>(got), 0) == 0;
}

// A new file may have got an access list from its directory.
bool drop_access_list(int file) {
  return ::fremovexattr(file, access_list) == 0 || errno == ENODATA || errno == EOPNOTSUPP;
}

bool copy_attributes(int from, int to) {
  const auto names = attribute_names(from);
  if (!names || !drop_access_list(to)) return false;
  for (const std::string& name : *names) {
    const bool judged_by_system = name.starts_with("security.") || name.starts_with("trusted.");
    if (!copy_attribute(from, to, name) && !judged_by_system) return false;
  }
  return true;
}

// Can be set as long as the file is empty, on file systems that know it.
void copy_no_copy_on_write(int from, int to) {
  int flags = 0;
  if (::ioctl(from, FS_IOC_GETFLAGS, &flags) != 0 || (flags & FS_NOCOW_FL) == 0) return;
  if (::ioctl(to, FS_IOC_GETFLAGS, &flags) != 0) return;
  flags |= FS_NOCOW_FL;
  ::ioctl(to, FS_IOC_SETFLAGS, &flags);
}

}  // namespace

bool take_over_attributes(int from, int to) {
  struct stat status{};
  if (::fstat(from, &status) != 0) return false;
  copy_no_copy_on_write(from, to);
  return give_to_owner(status, to) && copy_attributes(from, to) && ::fchmod(to, status.st_mode & 07777) == 0;
}

}  // namespace byre
