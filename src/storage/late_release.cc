// A ring refers to files that are registered with it, and is taken apart by a worker of the kernel after it was closed.

#include "storage/late_release.h"

#include <fcntl.h>
#include <liburing.h>
#include <sys/stat.h>
#include <unistd.h>

namespace byre {
namespace {

constexpr off_t short_file_bytes = 64 << 20;

// -1 if it cannot be done.
int ring_that_refers_to(int file) {
  io_uring_params params{};
  const int ring = io_uring_setup(1, &params);
  if (ring < 0) return -1;
  if (io_uring_register(static_cast<unsigned>(ring), IORING_REGISTER_FILES, &file, 1) == 0) return ring;
  ::close(ring);
  return -1;
}

}  // namespace

LateRelease::LateRelease(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return;
  struct stat status{};
  if (::fstat(file, &status) == 0 && status.st_blocks > short_file_bytes / 512) ring_ = ring_that_refers_to(file);
  ::close(file);
}

LateRelease::~LateRelease() {
  if (ring_ >= 0) ::close(ring_);
}

}  // namespace byre
