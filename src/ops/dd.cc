// Pieces of a megabyte, several in flight. Where the stretches do not lie alike in their clusters, a cluster of the
// target may be written by two pieces: the target keeps them apart.

#include "byre/ops/dd.h"

#include <algorithm>

#include "base/math.h"
#include "base/text.h"
#include "byre/task/sync.h"
#include "data/disk_slice.h"
#include "ops/buffer_pool.h"
#include "ops/early_flush.h"
#include "ops/piped_image.h"

namespace byre {
namespace {

constexpr std::uint64_t dd_piece_bytes = 1 << 20;
constexpr std::size_t pieces_in_flight = 8;

Task<Result<void>> copy_piece(Disk& source, std::uint64_t from, Disk& target, std::uint64_t to, std::uint64_t length,
                              ops::BufferPool& buffers) {
  ops::BufferPool::Loan loan = buffers.take();
  const Bytes content = loan.first(length);
  BYRE_CO_CHECK(co_await source.read(from, content));
  const ConstBytes bytes = content;
  co_return co_await target.write(to, bytes);
}

Result<void> check_stretches(Disk& source, Disk& target, const StretchCopy& copy) {
  if (fits_within(copy.source_offset_bytes, copy.length_bytes, source.size_bytes()) &&
      fits_within(copy.target_offset_bytes, copy.length_bytes, target.size_bytes())) {
    return {};
  }
  return fail(ErrorCode::invalid_argument, "{} bytes at {} of {} do not fit at {} of {}", copy.length_bytes,
              copy.source_offset_bytes, source.size_bytes(), copy.target_offset_bytes, target.size_bytes());
}

}  // namespace

Task<Result<void>> copy_stretch(Disk& source, Disk& target, StretchCopy copy) {
  BYRE_CO_CHECK(check_stretches(source, target, copy));
  ops::BufferPool buffers(dd_piece_bytes);
  TaskGroup group;
  ops::EarlyFlush early_flush(target.storage());
  Result<void> done;
  for (std::uint64_t at = 0; at < copy.length_bytes && done && !group.failed() && !early_flush.failed();) {
    if (copy.cancel && copy.cancel->load()) {
      done = fail(ErrorCode::cancelled, "interrupted");
      break;
    }
    const auto status = co_await source.status(copy.source_offset_bytes + at, copy.length_bytes - at);
    if (!status) {
      done = std::unexpected(status.error());
      break;
    }
    const bool zero = status->zero;
    const std::uint64_t length = zero ? status->length_bytes : std::min(status->length_bytes, dd_piece_bytes);
    const std::uint64_t to = copy.target_offset_bytes + at;
    co_await group.wait_below(pieces_in_flight - 1);
    if (!zero) {
      co_await early_flush.note(length);
      group.start(copy_piece(source, copy.source_offset_bytes + at, target, to, length, buffers));
    } else if (!copy.target_is_zero) {
      group.start(target.write_zeroes(to, length, ZeroMode::unmap));
    }
    at += length;
    if (copy.progress) copy.progress(at, copy.length_bytes);
  }
  auto joined = co_await group.join();
  auto flushed = co_await early_flush.join();
  if (done) done = joined;
  co_return done ? flushed : done;
}

Task<Result<void>> stretch_to_pipe(Disk& source, Storage& pipe, CreateOptions target, StretchCopy copy) {
  if (!fits_within(copy.source_offset_bytes, copy.length_bytes, source.size_bytes())) {
    co_return fail(ErrorCode::invalid_argument, "{} bytes at {} do not lie in {}", copy.length_bytes,
                   copy.source_offset_bytes, source.size_bytes());
  }
  DiskSlice slice(source, copy.source_offset_bytes, copy.length_bytes);
  CopyOptions options;
  options.progress = std::move(copy.progress);
  options.cancel = copy.cancel;
  const std::vector<Disk*> sources = {&slice};
  co_return co_await ops::write_piped_image(sources, pipe, std::move(target), std::move(options), false);
}

DdRange dd_range(std::uint64_t size_bytes, std::uint64_t block_bytes, std::uint64_t skip_blocks,
                 std::optional<std::uint64_t> count_blocks) {
  const std::uint64_t end =
      count_blocks ? std::min(size_bytes, checked_multiply(*count_blocks, block_bytes).value_or(size_bytes))
                   : size_bytes;
  const std::uint64_t begin = checked_multiply(skip_blocks, block_bytes).value_or(end);
  if (begin >= end) return {end, 0};
  return {begin, end - begin};
}

}  // namespace byre
