#include "cli/io_session.h"

#include "byre/storage/break_points.h"
#include "cli/throw_away.h"

namespace byre::cli {

namespace {

Result<NodeDescription> described(const std::string& path, const IoOpenSettings& settings) {
  if (!settings.options) return image_named(path, settings.flags.image_opts);
  if (path.empty()) return NodeDescription::from_options(*settings.options);
  BYRE_TRY(const NodeDescription node, image_named(path, settings.flags.image_opts));
  return node.with_options(*settings.options);
}

}  // namespace

Task<Result<void>> IoSession::open(std::string path, IoOpenSettings settings) {
  OpenOptions options = open_options(settings.flags);
  BYRE_CO_CHECK(choose_snapshot(settings.snapshot, options));
  options.writable = !settings.read_only && !settings.throw_away && !settings.snapshot;
  options.discard = settings.discard;
  options.copy_on_read = settings.copy_on_read && options.writable;
  BYRE_CO_TRY(NodeDescription node, described(path, settings));
  BYRE_CO_TRY(std::unique_ptr<Disk> disk, co_await open_node(std::move(node), options));
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
  // Nobody could resume it any more.
  if (BreakPoints* const points = disk_->storage().break_points()) points->remove_all();
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
