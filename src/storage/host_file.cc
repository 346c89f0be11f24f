// Everything but reading and writing. Zeroing and punching go to fallocate(2), which serves block devices too; what
// the system cannot do is remembered and not tried again.
//
// The delicate point is the size: ftruncate(2) sets it, and a write that extends the file at the same time may be cut
// off. So growing by ftruncate happens in the loop's thread, at once, and never below the end of a write under way.

#include "storage/host_file.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/text.h"
#include "storage/checks.h"
#include "storage/file_lock.h"

namespace byre {
namespace {

bool try_again(std::int64_t returned) { return returned == -EINTR || returned == -EAGAIN; }

// The file system or device has no such operation. EINVAL comes from devices for ranges that are not whole sectors.
bool is_missing(std::int64_t returned) {
  return returned == -EOPNOTSUPP || returned == -ENOSYS || returned == -ENODEV || returned == -ENOTTY ||
         returned == -EINVAL;
}

}  // namespace

ImageDescriptor::~ImageDescriptor() {
  if (fd_ < 0) return;
  unlock_image_file(fd_);
  ::close(fd_);
}

HostFile::HostFile(OpenedFile opened) : opened_(std::move(opened)), size_bytes_(opened_.size_bytes) {}

HostFile::Growth::Growth(HostFile& file, std::uint64_t end_bytes)
    : file_(file), end_bytes_(end_bytes), grows_(end_bytes > file.size_bytes_) {
  if (!grows_) return;
  ++file_.growing_;
  file_.growing_end_bytes_ = std::max(file_.growing_end_bytes_, end_bytes);
}

HostFile::Growth::~Growth() {
  if (!grows_) return;
  if (succeeded_) {
    file_.size_bytes_ = std::max(file_.size_bytes_, end_bytes_);
  } else {
    file_.refresh_size();
  }
  if (--file_.growing_ == 0) file_.growing_end_bytes_ = 0;
}

bool HostFile::durable_at_once() const {
  const CacheMode mode = opened_.options.cache;
  return mode == CacheMode::writethrough || mode == CacheMode::directsync;
}

Error HostFile::failure(std::int64_t negative_errno, std::string_view verb, std::uint64_t offset_bytes,
                        std::uint64_t length_bytes) const {
  return Error::from_errno(static_cast<int>(-negative_errno),
                           fmt::format("{} of {} bytes at {}", verb, length_bytes, offset_bytes))
      .in_file(name());
}

Result<void> HostFile::check_change(std::uint64_t offset_bytes, std::uint64_t length_bytes) const {
  BYRE_CHECK(check_storage_change(*this, offset_bytes, length_bytes));
  if (device() && offset_bytes + length_bytes > size_bytes_) {
    return fail_in(name(), ErrorCode::no_space, "{} bytes at {} end behind the device, which has {} bytes",
                   length_bytes, offset_bytes, size_bytes_);
  }
  return {};
}

void HostFile::refresh_size() {
  struct stat status{};
  if (!device() && ::fstat(fd(), &status) == 0) size_bytes_ = static_cast<std::uint64_t>(status.st_size);
}

Task<Result<std::uint64_t>> HostFile::read_rest(std::uint64_t offset_bytes, TransferVectors& to,
                                                std::uint32_t block_bytes) {
  while (to.left_bytes() > 0) {
    HostCall call = HostCall::read(fd(), offset_bytes, to);
    const std::int64_t returned = co_await call;
    if (try_again(returned)) continue;
    if (returned < 0) co_return std::unexpected(failure(returned, "read", offset_bytes, to.left_bytes()));
    if (returned == 0) break;
    offset_bytes += static_cast<std::uint64_t>(returned);
    to.advance(static_cast<std::uint64_t>(returned));
    if (offset_bytes % block_bytes != 0) break;
  }
  co_return to.left_bytes();
}

Task<Result<void>> HostFile::write_rest(std::uint64_t offset_bytes, TransferVectors& from) {
  while (from.left_bytes() > 0) {
    HostCall call = HostCall::write(fd(), offset_bytes, from);
    std::int64_t returned = co_await call;
    if (try_again(returned)) continue;
    if (returned == 0) returned = -EIO;  // no progress and no reason
    if (returned < 0) co_return std::unexpected(failure(returned, "write", offset_bytes, from.left_bytes()));
    offset_bytes += static_cast<std::uint64_t>(returned);
    from.advance(static_cast<std::uint64_t>(returned));
  }
  co_return Result<void>();
}

// The system reports a lost write to one fsync only, and may have dropped the pages since: after a failure there is
// no way to know what is on disk, so that no later flush may succeed.
Task<Result<void>> HostFile::flush() {
  if (!writable() || opened_.options.cache == CacheMode::unsafe) co_return Result<void>();
  std::int64_t returned = -sync_errno_;
  while (returned == 0) {
    HostCall call = HostCall::sync_data(fd());
    returned = co_await call;
    if (returned == 0) break;
    if (try_again(returned)) returned = 0;
  }
  if (returned == 0 && sync_errno_ != 0) returned = -sync_errno_;  // another flush failed meanwhile
  if (returned < 0) {
    sync_errno_ = static_cast<int>(-returned);
    co_return std::unexpected(Error::from_errno(sync_errno_, "flush").in_file(name()));
  }
  co_return Result<void>();
}

Task<Result<void>> HostFile::sync_if_durable_at_once() {
  if (durable_at_once()) co_return co_await flush();
  co_return Result<void>();
}

Task<std::int64_t> HostFile::fallocate(int mode, std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  std::int64_t returned = 0;
  do {
    HostCall call = HostCall::allocate(fd(), mode, offset_bytes, length_bytes);
    returned = co_await call;
  } while (try_again(returned));
  data_end_bytes_ = 0;
  co_return returned;
}

Result<void> HostFile::grow(std::uint64_t end_bytes) {
  if (end_bytes <= size_bytes_) return {};
  const std::uint64_t target = std::max(end_bytes, growing_end_bytes_);
  int status = 0;
  do {
    status = ::ftruncate(fd(), static_cast<off_t>(target));
  } while (status != 0 && errno == EINTR);
  if (status != 0) return std::unexpected(failure(-errno, "growth", size_bytes_, end_bytes - size_bytes_));
  size_bytes_ = end_bytes;
  return {};
}

Task<Result<bool>> HostFile::zero_by_system(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) {
  std::uint64_t end_bytes = offset_bytes + length_bytes;
  const std::uint64_t old_size_bytes = size_bytes_;
  BYRE_CO_CHECK(grow(end_bytes));
  if (may_unmap && opened_.options.discard == DiscardMode::unmap && can_punch_) {
    end_bytes = std::min(end_bytes, old_size_bytes);  // what lies behind has become a hole by growing
    if (offset_bytes >= end_bytes) co_return true;
    const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    const std::int64_t returned = co_await fallocate(mode, offset_bytes, end_bytes - offset_bytes);
    if (returned == 0) co_return true;
    if (!is_missing(returned)) co_return std::unexpected(failure(returned, "zeroing", offset_bytes, length_bytes));
    if (returned != -EINVAL) can_punch_ = false;
  }
  if (!can_zero_) co_return false;
  const int mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
  const std::int64_t returned = co_await fallocate(mode, offset_bytes, end_bytes - offset_bytes);
  if (returned == 0) co_return true;
  if (!is_missing(returned)) co_return std::unexpected(failure(returned, "zeroing", offset_bytes, length_bytes));
  if (returned != -EINVAL) can_zero_ = false;
  co_return false;
}

Task<Result<void>> HostFile::write_zeros(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  static constexpr std::size_t part_bytes = 64 * 1024;
  alignas(4096) static constexpr std::array<std::byte, part_bytes> zeros{};
  std::array<ConstBytes, 16> parts;
  while (length_bytes > 0) {
    std::size_t count = 0;
    std::uint64_t sum = 0;
    for (; count < parts.size() && sum < length_bytes; ++count) {
      const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(part_bytes, length_bytes - sum));
      parts[count] = ConstBytes(zeros).first(size);
      sum += size;
    }
    const std::span<const ConstBytes> span(parts.data(), count);
    BYRE_CO_CHECK(co_await write(offset_bytes, span));
    offset_bytes += sum;
    length_bytes -= sum;
  }
  co_return Result<void>();
}

Task<Result<void>> HostFile::zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) {
  BYRE_CO_CHECK(check_change(offset_bytes, length_bytes));
  if (length_bytes == 0) co_return Result<void>();
  BYRE_CO_TRY(const bool done, co_await zero_by_system(offset_bytes, length_bytes, may_unmap));
  if (!done) co_return co_await write_zeros(offset_bytes, length_bytes);
  co_return co_await sync_if_durable_at_once();
}

Task<Result<void>> HostFile::punch(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  BYRE_CO_CHECK(check_storage_change(*this, offset_bytes, length_bytes));
  if (opened_.options.discard == DiscardMode::ignore || !can_punch_) co_return Result<void>();
  const std::uint64_t end_bytes = std::min(offset_bytes + length_bytes, size_bytes_);
  if (offset_bytes >= end_bytes) co_return Result<void>();
  const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  const std::int64_t returned = co_await fallocate(mode, offset_bytes, end_bytes - offset_bytes);
  if (is_missing(returned)) {
    if (returned != -EINVAL) can_punch_ = false;
  } else if (returned < 0) {
    co_return std::unexpected(failure(returned, "punch", offset_bytes, length_bytes));
  }
  co_return co_await sync_if_durable_at_once();
}

Task<Result<void>> HostFile::allocate(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  BYRE_CO_CHECK(check_change(offset_bytes, length_bytes));
  if (length_bytes == 0 || device()) co_return Result<void>();
  const std::uint64_t end_bytes = offset_bytes + length_bytes;
  {
    Growth growth(*this, end_bytes);
    const std::int64_t returned = co_await fallocate(0, offset_bytes, length_bytes);
    if (returned == 0) {
      growth.done();
    } else if (!is_missing(returned)) {
      co_return std::unexpected(failure(returned, "allocation", offset_bytes, length_bytes));
    } else {
      BYRE_CO_CHECK(co_await allocate_by_writing(offset_bytes, end_bytes));
      growth.done();
    }
  }
  co_return co_await sync_if_durable_at_once();
}

// Writes zeros where the file has holes, and nowhere else.
Task<Result<void>> HostFile::allocate_by_writing(std::uint64_t offset_bytes, std::uint64_t end_bytes) {
  while (offset_bytes < end_bytes) {
    StorageExtent extent{end_bytes - offset_bytes, false};
    if (offset_bytes < size_bytes_) {
      BYRE_CO_TRY(extent, co_await extent_at(offset_bytes));
    }
    const std::uint64_t length_bytes = std::min(extent.length_bytes, end_bytes - offset_bytes);
    if (!extent.data) {
      BYRE_CO_CHECK(co_await write_zeros(offset_bytes, length_bytes));
    }
    offset_bytes += length_bytes;
  }
  co_return Result<void>();
}

Task<Result<void>> HostFile::truncate(std::uint64_t size_bytes) {
  std::int64_t returned = 0;
  do {
    HostCall call = HostCall::truncate(fd(), size_bytes);
    returned = co_await call;
  } while (try_again(returned));
  data_end_bytes_ = 0;
  if (returned < 0) {
    refresh_size();
    co_return std::unexpected(failure(returned, "truncation", size_bytes, 0));
  }
  size_bytes_ = size_bytes;
  co_return Result<void>();
}

Task<Result<void>> HostFile::resize(std::uint64_t size_bytes) {
  BYRE_CO_CHECK(check_storage_change(*this, size_bytes, 0));
  if (size_bytes == size_bytes_) co_return Result<void>();
  if (device()) {
    co_return fail_in(name(), ErrorCode::unsupported, "a device of {} bytes cannot be made {} bytes long", size_bytes_,
                      size_bytes);
  }
  if (size_bytes > size_bytes_) {
    BYRE_CO_CHECK(grow(size_bytes));
  } else {
    BYRE_CO_CHECK(co_await truncate(size_bytes));
  }
  co_return co_await sync_if_durable_at_once();
}

// In the loop's thread: the call takes microseconds, a thread and back takes tens of them.
Task<std::int64_t> HostFile::find_extent(std::uint64_t offset_bytes, bool& is_data) {
  HostCall call = HostCall::find_extent(fd(), offset_bytes);
  std::int64_t end = 0;
  if (finding_.at_once()) {
    end = finding_.measure([&call] { return call.perform(); });
  } else {
    end = co_await call;
  }
  is_data = call.found_data();
  co_return end;
}

// The stretch of data found last is remembered: an image asks for one cluster after the other, and for each the system
// would look for the end of the stretch anew, which in a file without holes is the end of the file.
Task<Result<StorageExtent>> HostFile::extent_at(std::uint64_t offset_bytes) {
  BYRE_CO_CHECK(check_extent_offset(*this, offset_bytes));
  StorageExtent extent{size_bytes_ - offset_bytes, true};
  if (device()) co_return extent;
  if (offset_bytes >= data_begin_bytes_ && offset_bytes < data_end_bytes_) {
    extent.length_bytes = std::min(extent.length_bytes, data_end_bytes_ - offset_bytes);
    co_return extent;
  }
  const std::int64_t end = co_await find_extent(offset_bytes, extent.data);
  if (end <= 0) co_return StorageExtent{extent.length_bytes, true};                  // the file system does not say
  if (offset_bytes < size_bytes_) extent.length_bytes = size_bytes_ - offset_bytes;  // it may have changed
  const std::uint64_t found_bytes = static_cast<std::uint64_t>(end) - offset_bytes;
  extent.length_bytes = std::min(extent.length_bytes, found_bytes);
  if (extent.data) {
    data_begin_bytes_ = offset_bytes;
    data_end_bytes_ = offset_bytes + extent.length_bytes;
  }
  co_return extent;
}

std::optional<std::uint64_t> HostFile::allocated_bytes() const {
  struct stat status{};
  if (device() || ::fstat(fd(), &status) != 0) return std::nullopt;
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

}  // namespace byre
