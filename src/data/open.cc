// Opening: decide the format, load the metadata (load.cc), then open what the image names, one layer after the other,
// until a layer names nothing. Nothing is written, and nothing is followed that the policy forbids.

#include "data/open.h"

#include <algorithm>

#include "base/math.h"
#include "base/text.h"
#include "data/load.h"
#include "data/qcow2_disk.h"
#include "data/raw_disk.h"
#include "data/reference.h"
#include "data/repair.h"

namespace byre {

Task<Result<std::string>> decide_format(Storage& storage, const OpenOptions& options) {
  if (options.format) {
    if (*options.format == "qcow2" || *options.format == "raw") co_return *options.format;
    co_return fail(ErrorCode::invalid_argument, "unknown format '{}': qcow2 and raw are known",
                   escape_untrusted(*options.format));
  }
  std::byte first[8] = {};
  const Bytes target(first);
  BYRE_CO_TRY(const std::size_t got, co_await storage.read(0, target));
  if (got == sizeof first && format::is_qcow2_magic(first)) co_return "qcow2";
  if (options.writable && !options.probe_for_writing) {
    co_return fail(ErrorCode::refused,
                   "the format is not recorded in the file and is not guessed for writing: pass -f raw if it is raw");
  }
  if (options.writable && options.log) {
    options.log(LogLevel::warning, "the format is not recorded in the file, which is taken for raw: -f raw says so");
  }
  co_return "raw";
}

Result<void> check_supported(const format::Header& header, bool writable) {
  if (header.crypt_method != format::CryptMethod::none) {
    return fail(ErrorCode::unsupported, "the image is encrypted, which is not supported yet");
  }
  if (header.has_data_file()) {
    return fail(ErrorCode::unsupported, "the image uses an external data file, which is not supported yet");
  }
  if (writable && header.geometry().extended_l2) {
    return fail(ErrorCode::unsupported, "the image uses extended L2 entries (subclusters), which can only be read yet");
  }
  return {};
}

namespace {

using Opened = Result<std::unique_ptr<Disk>>;

// The layers above the one that is being opened.
struct Chain {
  std::vector<StorageIdentity> layers;
};

Task<Opened> open_layer(std::unique_ptr<Storage> storage, OpenOptions options, std::unique_ptr<Disk> backing,
                        Chain& chain);

Result<bool> uses_lazy_refcounts(const format::Header& header, const OpenOptions& options) {
  if (header.version < 3) {
    if (!options.lazy_refcounts.value_or(false)) return false;
    return fail(ErrorCode::invalid_argument,
                "lazy refcounts need version 3, but the image is of version 2 (compat=0.10)");
  }
  return options.lazy_refcounts.value_or((header.compatible_features & format::compatible::lazy_refcounts) != 0);
}

Task<Opened> open_backing(const Storage& image, const format::Header& header, const OpenOptions& options,
                          Chain& chain) {
  OpenOptions below = options;
  below.writable = false;
  below.copy_on_read = false;
  below.snapshot.reset();
  below.backing.format.reset();
  below.lazy_refcounts.reset();
  below.detect_zeroes = DetectZeroes::off;
  below.format = header.backing_format ? header.backing_format : options.backing.format;
  if (!below.format) {
    co_return fail(ErrorCode::refused,
                   "the image does not record the format of its backing file '{}', and it is not guessed: name it with "
                   "--backing-format",
                   escape_untrusted(header.backing_name));
  }
  if (chain.layers.size() > options.backing.max_depth) {
    co_return fail(ErrorCode::refused, "the backing chain is deeper than {} files", options.backing.max_depth);
  }
  if (!image.has_directory() && !header.backing_name.starts_with('/')) {
    co_return fail(ErrorCode::refused,
                   "the image names the backing file '{}' in its own directory, but does not lie in one: describe the "
                   "backing file with backing.*",
                   escape_untrusted(header.backing_name));
  }
  BYRE_CO_TRY(const std::string path, resolve_reference(image.name(), header.backing_name));
  FileOptions file;
  file.cache = options.cache;
  file.locking = options.force_share ? Locking::force_share : Locking::enforced;
  BYRE_CO_TRY(std::unique_ptr<Storage> storage, open_reference(path, options.backing, file));
  if (std::ranges::find(chain.layers, storage->identity()) != chain.layers.end()) {
    co_return fail(ErrorCode::refused, "the backing chain is a loop: '{}' comes twice", escape_untrusted(path));
  }
  co_return co_await open_layer(std::move(storage), std::move(below), nullptr, chain);
}

Task<Opened> open_qcow2(std::unique_ptr<Storage> storage, OpenOptions options, std::unique_ptr<Disk> backing,
                        Chain& chain) {
  const bool writable = options.writable;
  BYRE_CO_TRY(format::Header header,
              co_await read_header(*storage, writable ? format::HeaderUse::write : format::HeaderUse::read));
  BYRE_CO_CHECK(check_supported(header, writable));
  BYRE_CO_TRY(const bool lazy_refcounts, uses_lazy_refcounts(header, options));
  if (writable && header.is_dirty()) {
    BYRE_CO_CHECK(co_await repair_dirty_image(*storage, options.log));
    BYRE_CO_TRY(header, co_await read_header(*storage, format::HeaderUse::write));
  }
  LoadOptions wanted;
  wanted.writable = writable;
  wanted.cache_size_bytes = options.cache_size_bytes;
  wanted.snapshot = options.snapshot;
  wanted.snapshot_key = options.snapshot_key;
  BYRE_CO_TRY(LoadedImage loaded, co_await load_image(*storage, std::move(header), std::move(wanted)));
  if (!backing && !loaded.header.backing_name.empty() && options.backing.follow) {
    BYRE_CO_TRY(backing, co_await open_backing(*storage, loaded.header, options, chain));
  }
  Qcow2Disk::Parts disk;
  disk.storage = std::move(storage);
  disk.backing = std::move(backing);
  disk.image = std::move(loaded);
  disk.cache_size_bytes = options.cache_size_bytes;
  disk.writable = writable;
  disk.discard = options.discard;
  disk.pass_discard_request = options.pass_discard_request;
  disk.pass_discard_snapshot = options.pass_discard_snapshot;
  disk.detect_zeroes = options.detect_zeroes;
  disk.backing_is_absent = !options.backing.follow && options.backing.absent;
  disk.lazy_refcounts = writable && lazy_refcounts;
  disk.copy_on_read = options.copy_on_read;
  disk.cancel = options.cancel;
  disk.log = options.log;
  co_return std::make_unique<Qcow2Disk>(std::move(disk));
}

Task<Opened> open_layer(std::unique_ptr<Storage> storage, OpenOptions options, std::unique_ptr<Disk> backing,
                        Chain& chain) {
  const std::string name = storage->name();
  chain.layers.push_back(storage->identity());
  auto format = co_await decide_format(*storage, options);
  if (!format) co_return std::unexpected(std::move(format).error().in_file(name));
  if (*format == "raw") {
    if (options.snapshot) co_return fail_in(name, ErrorCode::invalid_argument, "a raw disk has no snapshots");
    RawDisk::Options raw;
    raw.writable = options.writable;
    raw.discard = options.discard;
    raw.detect_zeroes = options.detect_zeroes;
    co_return std::make_unique<RawDisk>(std::move(storage), raw);
  }
  auto opened = co_await open_qcow2(std::move(storage), std::move(options), std::move(backing), chain);
  if (!opened) co_return std::unexpected(std::move(opened).error().in_file(name));
  co_return std::move(*opened);
}

Result<void> check_options(const OpenOptions& options) {
  if (!options.writable && options.copy_on_read) {
    return fail(ErrorCode::invalid_argument, "copy-on-read needs an image that is opened for writing");
  }
  if (!options.writable) return {};
  if (options.snapshot) return fail(ErrorCode::invalid_argument, "a snapshot can only be opened read-only");
  if (options.force_share) return fail(ErrorCode::invalid_argument, "sharing by force is for reading only");
  return {};
}

}  // namespace

Task<Opened> open_disk(std::string path, OpenOptions options) {
  BYRE_CO_CHECK(check_options(options));
  FileOptions file;
  file.writable = options.writable;
  file.cache = options.cache;
  file.locking = options.force_share ? Locking::force_share : Locking::enforced;
  file.discard = options.discard ? DiscardMode::unmap : DiscardMode::ignore;
  BYRE_CO_TRY(std::unique_ptr<Storage> storage, open_file(std::move(path), file));
  co_return co_await open_disk(std::move(storage), std::move(options), nullptr);
}

Task<Opened> open_disk(std::unique_ptr<Storage> storage, OpenOptions options, std::unique_ptr<Disk> backing) {
  BYRE_CO_CHECK(check_options(options));
  Chain chain;
  co_return co_await open_layer(std::move(storage), std::move(options), std::move(backing), chain);
}

}  // namespace byre
