// An access is held first and fails then, so that what fails can be told while it is held.
#include "storage/debug_storage.h"

#include "base/text.h"
#include "byre/task/event_loop.h"
#include "storage/checks.h"

namespace byre {

Task<Result<void>> DebugStorage::before(AccessKind kind, std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  co_await break_points_.hold();
  const std::optional<FaultRule> fault = rules_.take_fault(kind, offset_bytes, length_bytes);
  if (!fault) co_return Result<void>{};
  if (!fault->immediately) co_await yield_now();
  Error error = Error::from_errno(fault->errno_value, "a fault that was asked for");
  co_return std::unexpected(std::move(error).in_file(name()));
}

Task<Result<std::size_t>> DebugStorage::read(std::uint64_t offset_bytes, Bytes target) {
  BYRE_CO_CHECK(co_await before(AccessKind::read, offset_bytes, target.size()));
  co_return co_await lender().read(offset_bytes, target);
}

Task<Result<void>> DebugStorage::write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) {
  announce(AccessEvent::pwritev);
  BYRE_CO_CHECK(co_await before(AccessKind::write, offset_bytes, total_size(parts)));
  auto done = co_await lender().write(offset_bytes, parts);
  announce(AccessEvent::pwritev_done);
  co_return done;
}

Task<Result<void>> DebugStorage::zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) {
  announce(AccessEvent::pwritev_zero);
  BYRE_CO_CHECK(co_await before(AccessKind::write_zeroes, offset_bytes, length_bytes));
  auto done = co_await lender().zero(offset_bytes, length_bytes, may_unmap);
  announce(AccessEvent::pwritev_done);
  co_return done;
}

Task<Result<void>> DebugStorage::punch(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  BYRE_CO_CHECK(co_await before(AccessKind::discard, offset_bytes, length_bytes));
  co_return co_await lender().punch(offset_bytes, length_bytes);
}

Task<Result<void>> DebugStorage::flush() {
  BYRE_CO_CHECK(co_await before(AccessKind::flush, 0, 0));
  co_return co_await lender().flush();
}

Task<Result<StorageExtent>> DebugStorage::extent_at(std::uint64_t offset_bytes) {
  BYRE_CO_CHECK(co_await before(AccessKind::block_status, offset_bytes, 1));
  co_return co_await lender().extent_at(offset_bytes);
}

}  // namespace byre
