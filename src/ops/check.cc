#include "byre/ops/check.h"

#include "base/text.h"
#include "ops/image_reader.h"

namespace byre {
namespace {

Task<Result<bool>> is_raw(Storage& storage, const std::optional<std::string>& format) {
  if (!format) {
    BYRE_CO_TRY(const bool is_qcow2, co_await ops::has_qcow2_magic(storage));
    co_return !is_qcow2;
  }
  if (*format != "raw" && *format != "qcow2") {
    co_return fail(ErrorCode::invalid_argument, "unknown format '{}': qcow2 and raw are known",
                   escape_untrusted(*format));
  }
  co_return *format == "raw";
}

Result<std::unique_ptr<Storage>> create_undo_file(const std::string& path) {
  FileOptions file;
  file.writable = true;
  file.create = true;
  file.exclusive = true;
  return open_file(path, file);
}

}  // namespace

Task<Result<std::optional<CheckReport>>> check_file(NodeDescription node, CheckFileOptions options) {
  OpenOptions open;
  open.format = options.format;
  open.writable = options.check.repair != Repair::none;
  open.cache = options.cache;
  open.force_share = options.force_share;
  BYRE_CO_TRY(const NodeStorage opened, co_await open_node_storage(std::move(node), std::move(open)));
  Storage* const storage = opened.storage.get();
  BYRE_CO_TRY(const bool raw, co_await is_raw(*storage, opened.options.format));
  if (raw) co_return std::optional<CheckReport>();
  std::unique_ptr<Storage> undo;
  if (options.undo_path) {
    BYRE_CO_TRY(undo, create_undo_file(*options.undo_path));
  }
  options.check.undo = undo.get();
  auto report = co_await check_image(*storage, options.check);
  if (!report) co_return std::unexpected(std::move(report).error().in_file(storage->name()));
  co_return *report;
}

Task<Result<void>> undo_check(std::string path, std::string undo_path) {
  FileOptions file;
  BYRE_CO_TRY(const std::unique_ptr<Storage> undo, open_file(undo_path, file));
  file.writable = true;
  BYRE_CO_TRY(const std::unique_ptr<Storage> storage, open_file(path, file));
  auto done = co_await apply_undo(*storage, *undo);
  if (!done) co_return std::unexpected(std::move(done).error().in_file(path));
  co_return Result<void>{};
}

}  // namespace byre
