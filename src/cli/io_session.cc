#include "cli/io_session.h"

#include "cli/throw_away.h"

namespace byre::cli {

Task<Result<void>> IoSession::open(std::string path, IoOpenSettings settings) {
  OpenOptions options = open_options(settings.flags);
  BYRE_CO_CHECK(choose_snapshot(settings.snapshot, options));
  options.writable = !settings.read_only && !settings.throw_away && !settings.snapshot;
  options.discard = settings.discard;
  options.copy_on_read = settings.copy_on_read && options.writable;
  BYRE_CO_TRY(std::unique_ptr<Disk> disk, co_await open_disk(path, options));
  if (settings.throw_away && !settings.read_only) {
    BYRE_CO_TRY(disk, co_await with_changes_in_memory(std::move(disk), std::move(options)));
  }
  disk_ = std::move(disk);
  path_ = std::move(path);
  settings_ = std::move(settings);
  co_return Result<void>();
}

Task<Result<void>> IoSession::close() {
  if (!disk_) co_return Result<void>();
  const Result<void> drained = co_await in_flight_.join();
  BYRE_ASSERT(drained.has_value());
  const Result<void> closed = co_await disk_->close();
  disk_.reset();
  co_return closed;
}

Task<Result<void>> IoSession::reopen(IoOpenSettings settings) {
  std::string path = path_;
  BYRE_CO_CHECK(co_await close());
  co_return co_await open(std::move(path), std::move(settings));
}

}  // namespace byre::cli
