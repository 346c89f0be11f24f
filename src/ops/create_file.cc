// Creating images by name. Everything that can be refused is refused before the file is opened for writing: a typing
// mistake must not cost an existing image.
#include "ops/create_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/math.h"
#include "base/text.h"
#include "byre/data/disk.h"
#include "byre/ops/create.h"
#include "byre/storage/file.h"
#include "data/raw_disk.h"
#include "data/reference.h"
#include "format/limits.h"
#include "ops/create_options.h"

namespace byre {

namespace {

enum class PathKind { missing, regular, other };

PathKind kind_of(const std::string& path) {
  struct stat info = {};
  if (::stat(path.c_str(), &info) != 0) return PathKind::missing;
  return S_ISREG(info.st_mode) ? PathKind::regular : PathKind::other;
}

// H-50: an image that becomes part of its own backing chain would be destroyed by the attempt.
Result<> check_not_in_chain(const std::string& path, Disk* disk) {
  struct stat info = {};
  if (::stat(path.c_str(), &info) != 0) return {};
  const StorageIdentity target{info.st_dev, info.st_ino};
  for (; disk != nullptr; disk = disk->backing()) {
    if (disk->storage().identity() != target) continue;
    return fail(ErrorCode::refused, "{} cannot be created: it belongs to the backing chain that it would have",
                escape_untrusted(path, path.size()));
  }
  return {};
}

Task<Result<std::uint64_t>> inspect_backing(const std::string& path, const CreateOptions& options) {
  OpenOptions open_options;
  open_options.format = options.backing_format;
  BYRE_CO_TRY(std::string backing, resolve_reference(path, *options.backing_file));
  BYRE_CO_TRY(std::unique_ptr<Disk> disk, co_await open_disk(std::move(backing), std::move(open_options)));
  const std::uint64_t size_bytes = disk->size_bytes();
  const Result<> separate = check_not_in_chain(path, disk.get());
  BYRE_CO_CHECK(co_await disk->close());
  BYRE_CO_CHECK(separate);
  co_return size_bytes;
}

Task<Result<void>> fill_raw(Storage& storage, const CreateOptions& options) {
  const std::uint64_t size_bytes = *options.size_bytes;
  if (storage.size_bytes() != size_bytes) BYRE_CO_CHECK(co_await storage.resize(size_bytes));
  if (options.preallocation != Preallocation::off && size_bytes > 0) {
    BYRE_CO_CHECK(co_await extend_with_zeros(storage, 0, size_bytes, options.preallocation));
  }
  co_return co_await storage.flush();
}

// What is left of an old file is a sector of zeros, not nothing: ext4 takes a file that was cut to nothing for one that
// is being replaced, and writes all of it to the disk when it is closed, which is for the caller's flush to decide.
Task<Result<void>> empty(Storage& storage) {
  if (storage.size_bytes() <= format::sector_bytes) co_return co_await storage.resize(0);
  BYRE_CO_CHECK(co_await storage.zero(0, format::sector_bytes, false));
  co_return co_await storage.resize(format::sector_bytes);
}

// A device keeps its size: it must be large enough, and the rest of it is not part of the disk.
Task<Result<void>> fill_storage(Storage& storage, PathKind kind, const CreateOptions& options) {
  const bool is_raw = options.format == "raw";
  if (kind == PathKind::other) {
    if (!is_raw) co_return co_await create_qcow2(storage, options);
    if (storage.size_bytes() >= *options.size_bytes) co_return Result<void>();
    co_return fail(ErrorCode::no_space, "the device has {} bytes, the disk needs {}", storage.size_bytes(),
                   *options.size_bytes);
  }
  if (storage.size_bytes() != 0) BYRE_CO_CHECK(co_await empty(storage));
  co_return co_await ops::fill_empty_file(storage, options);
}

// Names the image where a message is about the options alone.
Result<> in_context(const std::string& path, Result<> result) {
  if (result) return result;
  return std::unexpected(std::move(result).error().in_file(path));
}

// What lies in a file has a name, by which it is made more carefully than here.
Task<Result<std::unique_ptr<Storage>>> create_in_place(NodeDescription target, CreateOptions options, CacheMode cache) {
  const std::string text = escape_untrusted(target.text(), 4096);
  OpenOptions open;
  open.format = "raw";
  open.writable = true;
  open.cache = cache;
  BYRE_CO_TRY(NodeStorage opened, co_await open_node_storage(std::move(target), std::move(open)));
  if (opened.storage->has_directory()) {
    co_return fail(ErrorCode::unsupported, "'{}': a file is made by its path alone; -n writes into what is there",
                   text);
  }
  BYRE_CO_CHECK(co_await fill_storage(*opened.storage, PathKind::other, options));
  co_return std::move(opened.storage);
}

}  // namespace

Task<Result<void>> ops::fill_empty_file(Storage& storage, CreateOptions options) {
  if (options.format == "raw") co_return co_await fill_raw(storage, options);
  co_return co_await create_qcow2(storage, options);
}

Task<Result<CreateOptions>> prepare_create(std::string path, CreateOptions options) {
  BYRE_CO_CHECK(in_context(path, check_create_options(options)));
  if (options.backing_file && options.open_backing) {
    BYRE_CO_TRY(const std::uint64_t backing_size_bytes, co_await inspect_backing(path, options));
    if (!options.size_bytes) options.size_bytes = backing_size_bytes;
  }
  if (!options.size_bytes) {
    co_return fail(ErrorCode::invalid_argument, "{}: the size of the disk is missing: give it behind the file name",
                   escape_untrusted(path, path.size()));
  }
  if (options.format == "qcow2") BYRE_CO_CHECK(in_context(path, ops::check_plan(options)));
  BYRE_CO_CHECK(in_context(path, check_create_options(options)));
  options.size_bytes = round_up(*options.size_bytes, format::sector_bytes);
  co_return options;
}

Task<Result<std::unique_ptr<Storage>>> create_image(NodeDescription target, CreateOptions options, CacheMode cache) {
  const std::string path = target.is_path() ? *target.path() : target.text();
  BYRE_CO_TRY(options, co_await prepare_create(path, options));
  if (!target.is_path()) co_return co_await create_in_place(std::move(target), std::move(options), cache);
  const PathKind kind = kind_of(path);
  FileOptions file_options;
  file_options.writable = true;
  file_options.create = true;
  file_options.cache = cache;
  BYRE_CO_TRY(std::unique_ptr<Storage> storage, open_file(path, file_options));
  Result<void> made = co_await fill_storage(*storage, kind, options);
  if (made) co_return std::move(storage);
  if (kind == PathKind::missing) ::unlink(path.c_str());
  if (kind == PathKind::regular) (void)co_await storage->resize(0);
  co_return std::unexpected(std::move(made).error());
}

}  // namespace byre
