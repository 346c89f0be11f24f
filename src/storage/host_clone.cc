// Sharing blocks between files (reflinks): one call for each range, which the file system answers with changes of its
// metadata. Pages of the source that are not on the disk yet are written by it first, so that a large range, or one
// that was just written, takes time; small ones are cloned in the loop's thread like other short calls.
//
// Which file systems can, and between which files, is known to them alone: it is tried. What says that it cannot be
// done here is kept apart from what failed.
//
// Left out: copy_file_range(2), decisions/0017.

#include <sys/resource.h>
#include <sys/vfs.h>

#include <bit>
#include <cerrno>

#include "base/text.h"
#include "storage/host_file.h"

namespace byre {
namespace {

constexpr std::uint64_t short_clone_bytes = 1 << 20;

// EXDEV: another file system; EINVAL: files of different kinds (NOCOW, real-time), alignment; ETXTBSY: swap files;
// EPERM and ENOSYS: a sandbox. Others: the file system or device knows no such thing.
bool cannot_be_shared(int errno_value) {
  switch (errno_value) {
    case EOPNOTSUPP:
    case ENOTTY:
    case ENOSYS:
    case EXDEV:
    case EINVAL:
    case ETXTBSY:
    case EPERM: return true;
    default: return false;
  }
}

// The system calls a range that ends behind the limit of the process (ulimit -f) malformed.
bool is_too_large(std::uint64_t end_bytes) {
  struct rlimit limit{};
  return ::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && end_bytes > limit.rlim_cur;
}

Error clone_failure(const Storage& target, const Storage& source, int errno_value) {
  Error error = Error::from_errno(errno_value,
                                  fmt::format("{}: cannot share blocks with {}", escape_untrusted(target.name(), 4096),
                                              escape_untrusted(source.name(), 4096)));
  if (cannot_be_shared(errno_value)) error = Error(ErrorCode::unsupported, error.message(), errno_value);
  return error;
}

}  // namespace

std::uint64_t HostFile::clone_block_bytes() const {
  struct statfs status{};
  if (device() || ::fstatfs(fd(), &status) != 0) return 0;
  const auto block = static_cast<std::uint64_t>(status.f_bsize);
  return std::has_single_bit(block) ? block : 0;
}

Task<std::int64_t> HostFile::clone_range(std::uint64_t offset_bytes, const HostFile& source,
                                         std::uint64_t source_offset_bytes, std::uint64_t length_bytes) {
  std::int64_t returned = 0;
  do {
    HostCall call = HostCall::clone(fd(), offset_bytes, source.fd(), source_offset_bytes, length_bytes);
    if (length_bytes <= short_clone_bytes && cloning_.at_once()) {
      returned = cloning_.measure([&call] { return call.perform(); });
    } else {
      returned = co_await call;
    }
  } while (returned == -EINTR);
  data_end_bytes_ = 0;
  if (returned == -EINVAL && is_too_large(offset_bytes + length_bytes)) returned = -EFBIG;
  co_return returned;
}

Task<Result<void>> HostFile::clone(std::uint64_t offset_bytes, Storage& source, std::uint64_t source_offset_bytes,
                                   std::uint64_t length_bytes) {
  const auto* const file = dynamic_cast<HostFile*>(&source);
  if (file == nullptr || device()) {
    co_return co_await Storage::clone(offset_bytes, source, source_offset_bytes, length_bytes);
  }
  BYRE_CO_CHECK(check_change(offset_bytes, length_bytes));
  if (length_bytes == 0) co_return Result<void>();  // the system would take it for "to the end"
  {
    Growth growth(*this, offset_bytes + length_bytes);
    const std::int64_t returned = co_await clone_range(offset_bytes, *file, source_offset_bytes, length_bytes);
    if (returned != 0) co_return std::unexpected(clone_failure(*this, source, static_cast<int>(-returned)));
    growth.done();
  }
  co_return co_await sync_if_durable_at_once();
}

}  // namespace byre
