// The overlay is an image like any other, made over the open disk instead of the name of a file.
#include "cli/throw_away.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "byre/ops/create.h"
#include "byre/storage/file.h"
#include "byre/storage/memory.h"

namespace byre::cli {

namespace {

Task<Result<std::unique_ptr<Disk>>> open_above(std::unique_ptr<Disk> disk, OpenOptions options,
                                               std::unique_ptr<Storage> place) {
  CreateOptions create;
  create.size_bytes = disk->size_bytes();
  create.backing_file = disk->storage().name();
  create.backing_format = std::string(disk->format());
  create.open_backing = false;
  options.copy_on_read = false;
  BYRE_CO_CHECK(co_await create_qcow2(*place, std::move(create)));
  options.format = "qcow2";
  options.snapshot.reset();
  options.writable = true;
  options.force_share = false;
  co_return co_await open_disk(std::move(place), std::move(options), std::move(disk));
}

Result<std::unique_ptr<Storage>> nameless_file() {
  const char* const directory = std::getenv("TMPDIR");
  std::string path = std::string(directory && *directory ? directory : "/var/tmp") + "/byre-XXXXXX";
  const int descriptor = ::mkstemp(path.data());
  if (descriptor < 0) return std::unexpected(Error::from_errno(errno, "a file for changes").in_file(path));
  ::close(descriptor);
  FileOptions options;
  options.writable = true;
  options.cache = CacheMode::unsafe;
  auto opened = open_file(path, options);
  ::unlink(path.c_str());
  return opened;
}

}  // namespace

Task<Result<std::unique_ptr<Disk>>> with_changes_in_memory(std::unique_ptr<Disk> disk, OpenOptions options) {
  co_return co_await open_above(std::move(disk), std::move(options), std::make_unique<MemoryStorage>());
}

Task<Result<std::unique_ptr<Disk>>> with_changes_in_file(std::unique_ptr<Disk> disk, OpenOptions options) {
  BYRE_CO_TRY(std::unique_ptr<Storage> place, nameless_file());
  co_return co_await open_above(std::move(disk), std::move(options), std::move(place));
}

}  // namespace byre::cli
