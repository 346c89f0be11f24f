// Small writes are gathered, as tables and payloads of small clusters come in pieces of a few hundred bytes.

#include <sys/stat.h>

#include "base/text.h"
#include "byre/storage/pipe.h"

namespace byre {

namespace {
constexpr std::size_t gathered_bytes = 256 << 10;
}  // namespace

PipeWriter::PipeWriter(int descriptor, std::string name, const std::atomic<bool>* cancel)
    : end_(descriptor, PipeEnd::Direction::sends, std::move(name), cancel) {}

StorageIdentity PipeWriter::identity() const {
  struct stat info = {};
  if (::fstat(end_.descriptor(), &info) != 0) return Storage::identity();
  return {info.st_dev, info.st_ino};
}

Task<Result<void>> PipeWriter::write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) {
  if (offset_bytes != size_bytes_) {
    co_return fail_in(name(), ErrorCode::refused, "a stream is written from front to back: {} comes next, not {}",
                      size_bytes_, offset_bytes);
  }
  for (const ConstBytes part : parts) {
    size_bytes_ += part.size();
    if (gathered_.size() + part.size() > gathered_bytes) BYRE_CO_CHECK(co_await flush());
    if (part.size() >= gathered_bytes) {
      BYRE_CO_CHECK(co_await end_.send(part));
    } else {
      gathered_.insert(gathered_.end(), part.begin(), part.end());
    }
  }
  co_return Result<void>{};
}

Task<Result<void>> PipeWriter::flush() {
  Result<void> done = co_await end_.send(gathered_);
  gathered_.clear();
  co_return done;
}

Task<Result<std::size_t>> PipeWriter::read(std::uint64_t, Bytes) {
  co_return fail_in(name(), ErrorCode::unsupported, "a stream that is written cannot be read");
}

Task<Result<void>> PipeWriter::resize(std::uint64_t size_bytes) {
  if (size_bytes == size_bytes_) co_return Result<void>{};
  co_return fail_in(name(), ErrorCode::unsupported, "a stream cannot be resized");
}

}  // namespace byre
