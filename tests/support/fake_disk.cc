#include "support/fake_disk.h"

#include <algorithm>
#include <cerrno>

#include "base/math.h"
#include "byre/task/event_loop.h"

namespace byre::test {

FakeDisk::FakeDisk(std::uint64_t size_bytes, std::uint64_t cluster_size_bytes)
    : content(size_bytes),
      has_data(ceil_div(size_bytes, block_bytes), false),
      cluster_size_bytes_(cluster_size_bytes) {}

void FakeDisk::fill(std::uint64_t offset_bytes, std::uint64_t length_bytes, unsigned char value) {
  std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(offset_bytes), length_bytes, std::byte{value});
  const std::uint64_t end = ceil_div(offset_bytes + length_bytes, block_bytes);
  for (std::uint64_t block = offset_bytes / block_bytes; block < end; ++block) has_data[block] = true;
}

Task<Result<void>> FakeDisk::begin(FakeRequest request) {
  log.push_back(request);
  most_in_flight = std::max(most_in_flight, ++in_flight_);
  const unsigned count = turns ? turns(request) : 1;
  for (unsigned i = 0; i < count; ++i) co_await yield_now();
  --in_flight_;
  if (fails && fails(request)) co_return std::unexpected(Error::from_errno(EIO, "fake"));
  co_return Result<void>();
}

Task<Result<void>> FakeDisk::store(FakeRequest request, ConstBytes data) {
  BYRE_CO_CHECK(co_await begin(request));
  fill(request.offset_bytes, request.length_bytes, 0);
  std::ranges::copy(data, content.begin() + static_cast<std::ptrdiff_t>(request.offset_bytes));
  co_return Result<void>();
}

Task<Result<void>> FakeDisk::read(std::uint64_t offset_bytes, Bytes target) {
  const FakeRequest request{FakeRequest::Kind::read, offset_bytes, target.size()};
  BYRE_CO_CHECK(co_await begin(request));
  std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(offset_bytes), target.size(), target.begin());
  co_return Result<void>();
}

Task<Result<void>> FakeDisk::write(std::uint64_t offset_bytes, ConstBytes data) {
  const FakeRequest request{FakeRequest::Kind::write, offset_bytes, data.size()};
  co_return co_await store(request, data);
}

Task<Result<void>> FakeDisk::write_compressed(std::uint64_t offset_bytes, ConstBytes data) {
  const FakeRequest request{FakeRequest::Kind::compressed, offset_bytes, data.size()};
  co_return co_await store(request, data);
}

Task<Result<void>> FakeDisk::write_zeroes(std::uint64_t offset_bytes, std::uint64_t length_bytes, ZeroMode) {
  const FakeRequest request{FakeRequest::Kind::zero, offset_bytes, length_bytes};
  co_return co_await store(request, {});
}

Task<Result<void>> FakeDisk::discard(std::uint64_t, std::uint64_t) { co_return Result<void>(); }
Task<Result<void>> FakeDisk::flush() { co_return Result<void>(); }
Task<Result<void>> FakeDisk::resize(std::uint64_t size_bytes, Preallocation) {
  content.resize(size_bytes);
  has_data.resize(ceil_div(size_bytes, block_bytes));
  co_return Result<void>();
}
Task<Result<void>> FakeDisk::close() { co_return Result<void>(); }

Task<Result<BlockStatus>> FakeDisk::status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) {
  if (status_fails_at && offset_bytes >= *status_fails_at) {
    co_return std::unexpected(Error(ErrorCode::corrupt, "fake status"));
  }
  const std::uint64_t first = offset_bytes / block_bytes;
  std::uint64_t end = first + 1;
  while (end < has_data.size() && has_data[end] == has_data[first]) ++end;
  BlockStatus status;
  status.length_bytes = std::min({end * block_bytes - offset_bytes, max_length_bytes, size_bytes() - offset_bytes});
  if (status_fails_at) status.length_bytes = std::min(status.length_bytes, *status_fails_at - offset_bytes);
  status.present = has_data[first];
  status.data = has_data[first];
  status.zero = !has_data[first];
  co_return status;
}

Task<Result<BlockStatus>> FakeDisk::layer_status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) {
  if (!top_has_data) co_return co_await status(offset_bytes, max_length_bytes);
  std::swap(has_data, *top_has_data);
  auto result = co_await status(offset_bytes, max_length_bytes);
  std::swap(has_data, *top_has_data);
  co_return result;
}

}  // namespace byre::test
