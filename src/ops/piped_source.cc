// The stream is read in one place and in order; what has come is cut into runs and written, while more comes. A raw
// file is resized only while nothing is written to it, and so in larger steps.

#include "ops/piped_source.h"

#include <algorithm>
#include <cstring>

#include "base/math.h"
#include "base/text.h"
#include "byre/task/sync.h"
#include "format/limits.h"
#include "ops/buffer_pool.h"
#include "ops/copy_runs.h"
#include "ops/pace.h"

namespace byre::ops {
namespace {

constexpr std::uint64_t window_bytes = 2 << 20;  // no cluster is larger
constexpr std::uint64_t file_step_bytes = 64 << 20;

class PipeCopy {
 public:
  PipeCopy(PipeReader& pipe, Disk& target, CopyOptions copy)
      : pipe_(pipe),
        target_(target),
        copy_(std::move(copy)),
        run_rules_(copy_run_rules(target, copy_)),
        buffers_(window_bytes),
        pace_(copy_.bytes_per_second, copy_.cancel) {}

  Task<Result<void>> run() {
    const Result<void> read = co_await read_all();
    const Result<void> written = co_await group_.join();
    BYRE_CO_CHECK(read);
    co_return written;
  }

 private:
  Task<Result<void>> read_all();
  Task<Result<void>> make_room(std::uint64_t end_bytes, bool last);
  Task<Result<void>> write_window(BufferPool::Loan loan, std::uint64_t offset_bytes, std::size_t length_bytes);
  bool is_device() const { return target_.storage().identity().inode == 0 && target_.cluster_size_bytes() == 0; }

  PipeReader& pipe_;
  Disk& target_;
  const CopyOptions copy_;
  const CopyRunRules run_rules_;
  BufferPool buffers_;
  Pace pace_;
  TaskGroup group_;
};

// A qcow2 image knows no more than it was told; a file gets its length at the end.
Task<Result<void>> PipeCopy::make_room(std::uint64_t end_bytes, bool last) {
  const bool enough = end_bytes <= target_.size_bytes();
  if (enough && (!last || is_device() || end_bytes == target_.size_bytes())) co_return Result<void>{};
  const bool is_file = target_.cluster_size_bytes() == 0;
  if (is_file) co_await group_.wait_below(0);
  const std::uint64_t step = is_file && !last && !is_device() ? file_step_bytes : 0;
  co_return co_await target_.resize(end_bytes + step, Preallocation::off);
}

Task<Result<void>> PipeCopy::write_window(BufferPool::Loan loan, std::uint64_t offset_bytes, std::size_t length_bytes) {
  const ConstBytes content = loan.first(length_bytes);
  TaskGroup writes;
  for (const CopyRun& run : copy_runs(content, ConstBytes(), run_rules_)) {
    if (writes.failed() || group_.failed()) break;
    start_run(writes, target_, offset_bytes, content, run, copy_.compress);
  }
  co_return co_await writes.join();
}

Task<Result<void>> PipeCopy::read_all() {
  pipe_.narrow(2 * window_bytes);
  const std::size_t others = std::max(copy_.parallel_requests, 1u) - 1;
  for (std::uint64_t at = 0; !group_.failed();) {
    co_await group_.wait_below(others);
    co_await pace_.wait_for(at);
    BufferPool::Loan loan = buffers_.take();
    const Bytes room = loan.first(window_bytes);
    BYRE_CO_TRY(const std::size_t got, co_await pipe_.read(at, room));
    const std::size_t length = round_up(got, format::sector_bytes);
    std::memset(room.data() + got, 0, length - got);
    const bool last = got < window_bytes;
    BYRE_CO_CHECK(co_await make_room(at + length, last));
    if (length > 0) group_.start(write_window(std::move(loan), at, length));
    at += length;
    if (last) break;
  }
  co_return Result<void>{};
}

}  // namespace

Task<Result<void>> copy_raw_pipe(PipeReader& pipe, Disk& target, CopyOptions copy) {
  target.set_compression_level(copy.compression_level);
  PipeCopy pipe_copy(pipe, target, std::move(copy));
  co_return co_await pipe_copy.run();
}

}  // namespace byre::ops
