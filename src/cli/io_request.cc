#include "cli/io_request.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/math.h"
#include "byre/ops/snapshot.h"
#include "cli/output.h"

namespace byre::cli {

namespace {

// Scripts expect an I/O error here, where the library says that the request is wrong.
Result<void> check_inside(Disk& disk, std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  if (fits_within(offset_bytes, length_bytes, disk.size_bytes())) return {};
  return std::unexpected(Error(ErrorCode::invalid_argument, "behind the end of the disk", EIO));
}

Task<Result<void>> read_range(Disk& disk, const IoRead& request, Buffer& buffer) {
  if (!request.vm_state) BYRE_CO_CHECK(check_inside(disk, request.offset_bytes, request.length_bytes));
  buffer = Buffer(request.length_bytes);
  const Bytes bytes = buffer.bytes();
  if (request.vm_state) co_return co_await read_vm_state(disk, request.offset_bytes, bytes);
  co_return co_await disk.read(request.offset_bytes, bytes);
}

bool pattern_holds(const IoRead& request, ConstBytes bytes) {
  if (!request.pattern) return true;
  const ConstBytes part = bytes.subspan(request.verify_from, request.verify_bytes);
  const std::byte wanted{*request.pattern};
  if (std::ranges::all_of(part, [wanted](std::byte byte) { return byte == wanted; })) return true;
  print(fmt::format("Pattern verification failed at offset {}, {} bytes\n", request.offset_bytes + request.verify_from,
                    request.verify_bytes));
  return false;
}

Buffer filled(const IoWrite& request) {
  Buffer buffer(request.length_bytes);
  if (request.content.size() == 1) {
    std::ranges::fill(buffer.bytes(), request.content.front());
    return buffer;
  }
  for (std::size_t at = 0; at < buffer.size(); at += request.content.size()) {
    const std::size_t length = std::min(request.content.size(), buffer.size() - at);
    std::memcpy(buffer.data() + at, request.content.data(), length);
  }
  return buffer;
}

Result<void> check_whole_clusters(Disk& disk, const IoWrite& request) {
  const std::uint64_t cluster_size = std::max<std::uint64_t>(disk.cluster_size_bytes(), 1);
  const std::uint64_t end = request.offset_bytes + request.length_bytes;
  const bool whole = request.offset_bytes % cluster_size == 0 && (end % cluster_size == 0 || end == disk.size_bytes());
  if (whole) return {};
  return std::unexpected(Error(ErrorCode::invalid_argument, "not whole clusters", ENOTSUP));
}

// A disk takes one compressed cluster at a time; the command takes any number of them.
Task<Result<void>> write_compressed_clusters(Disk& disk, std::uint64_t offset_bytes, ConstBytes bytes) {
  const std::uint64_t step = std::max<std::uint64_t>(disk.cluster_size_bytes(), 1);
  for (std::uint64_t at = 0; at < bytes.size(); at += step) {
    const ConstBytes cluster = bytes.subspan(at, std::min<std::uint64_t>(step, bytes.size() - at));
    BYRE_CO_CHECK(co_await disk.write_compressed(offset_bytes + at, cluster));
  }
  co_return Result<void>();
}

Task<Result<void>> write_range(Disk& disk, const IoWrite& request) {
  if (!request.vm_state) BYRE_CO_CHECK(check_inside(disk, request.offset_bytes, request.length_bytes));
  if (request.kind == IoWrite::Kind::zeroes) {
    if (request.whole_clusters_only) BYRE_CO_CHECK(check_whole_clusters(disk, request));
    const ZeroMode mode = request.unmap ? ZeroMode::unmap : ZeroMode::keep;
    co_return co_await disk.write_zeroes(request.offset_bytes, request.length_bytes, mode);
  }
  const Buffer buffer = filled(request);
  const ConstBytes bytes = buffer.bytes();
  if (request.vm_state) co_return co_await write_vm_state(disk, request.offset_bytes, bytes);
  if (request.kind == IoWrite::Kind::data) co_return co_await disk.write(request.offset_bytes, bytes);
  co_return co_await write_compressed_clusters(disk, request.offset_bytes, bytes);
}

}  // namespace

Task<bool> do_read(Disk& disk, IoRead request) {
  const IoTimer timer;
  Buffer buffer;
  const Result<void> done = co_await read_range(disk, request, buffer);
  if (!done) {
    print_io_failure(request.name, done.error());
    co_return false;
  }
  const bool holds = pattern_holds(request, buffer.bytes());
  if (request.style == IoReportStyle::none) co_return holds;
  if (request.dump) print_dump(request.offset_bytes, buffer.bytes());
  timer.report("read", request.offset_bytes, request.length_bytes, request.style);
  co_return holds;
}

Task<bool> do_write(Disk& disk, IoWrite request) {
  const IoTimer timer;
  Result<void> done = co_await write_range(disk, request);
  if (done && request.durable) done = co_await disk.flush();
  if (!done) {
    print_io_failure(request.name, done.error());
    co_return false;
  }
  timer.report("wrote", request.offset_bytes, request.length_bytes, request.style);
  co_return true;
}

Task<bool> do_discard(Disk& disk, std::uint64_t offset_bytes, std::uint64_t length_bytes, IoReportStyle style) {
  const IoTimer timer;
  Result<void> done = check_inside(disk, offset_bytes, length_bytes);
  if (done) done = co_await disk.discard(offset_bytes, length_bytes);
  if (!done) {
    print_io_failure("discard", done.error());
    co_return false;
  }
  timer.report("discard", offset_bytes, length_bytes, style);
  co_return true;
}

}  // namespace byre::cli
