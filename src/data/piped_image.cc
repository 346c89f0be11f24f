// The same steps as for a file (open.cc), without what would have to be read from somewhere else in it. The L2 tables
// that the L1 table names are kept as they pass; that they pass in front of what they map is for the pipe to find out.

#include "data/piped_image.h"

#include "base/text.h"
#include "data/load.h"
#include "data/open.h"
#include "data/qcow2_disk.h"
#include "data/reference.h"
#include "format/entry.h"
#include "format/limits.h"

namespace byre {
namespace {

Task<Result<std::shared_ptr<Disk>>> open_backing(const format::Header& header, const OpenOptions& options) {
  const std::string name = escape_untrusted(header.backing_name);
  if (!options.backing.below) {
    co_return fail(ErrorCode::refused,
                   "the image has the backing file '{}', and a stream lies in no directory: name the one below which "
                   "backing files may be opened with --backing-dir, or open none with --no-backing",
                   name);
  }
  OpenOptions below = options;
  below.backing.format.reset();
  below.format = header.backing_format ? header.backing_format : options.backing.format;
  if (!below.format) {
    co_return fail(ErrorCode::refused,
                   "the image does not record the format of its backing file '{}', and it is not guessed: name it with "
                   "--backing-format",
                   name);
  }
  BYRE_CO_TRY(const std::string path, resolve_reference(*options.backing.below + "/", header.backing_name));
  FileOptions file;
  file.cache = options.cache;
  file.locking = options.force_share ? Locking::force_share : Locking::enforced;
  BYRE_CO_TRY(std::unique_ptr<Storage> storage, open_reference(path, options.backing, file));
  BYRE_CO_TRY(std::unique_ptr<Disk> disk, co_await open_disk(std::move(storage), std::move(below), nullptr));
  co_return std::shared_ptr<Disk>(std::move(disk));
}

// What lies behind the data and is not read must be there all the same, as in a file (H-14).
void require_tables(PipeReader& pipe, const format::Header& header) {
  const std::uint64_t clusters = header.refcount_table_clusters;
  pipe.require(header.refcount_table.bytes + (clusters << header.cluster_bits));
  if (header.snapshot_count == 0) return;
  pipe.require(header.snapshot_table.bytes + header.snapshot_count * format::snapshot_entry_min_bytes);
}

// A malformed entry is told where it is followed.
std::vector<std::uint64_t> l2_tables(const Qcow2Disk& disk) {
  const format::Geometry geometry = disk.header().geometry();
  std::vector<std::uint64_t> tables;
  const std::uint64_t entries = geometry.required_l1_entries(disk.size_bytes());
  for (std::uint64_t i = 0; i < std::min<std::uint64_t>(entries, disk.l1().size()); ++i) {
    const auto entry = format::decode_l1_entry(geometry, disk.l1()[i]);
    if (entry && entry->l2_table.bytes != 0) tables.push_back(entry->l2_table.bytes);
  }
  return tables;
}

Task<Result<std::unique_ptr<Disk>>> open_image(const std::shared_ptr<PipeReader>& pipe, OpenOptions options) {
  if (options.snapshot) {
    co_return fail(ErrorCode::unsupported, "an internal snapshot of a stream cannot be read: save it in a file first");
  }
  BYRE_CO_TRY(format::Header header, co_await read_header(*pipe, format::HeaderUse::read));
  BYRE_CO_CHECK(check_supported(header, false));
  require_tables(*pipe, header);
  header.bitmaps.reset();  // the copy has none, and they may lie behind the data
  std::shared_ptr<Disk> backing;
  if (!header.backing_name.empty() && options.backing.follow) {
    BYRE_CO_TRY(backing, co_await open_backing(header, options));
  }
  LoadOptions wanted;
  wanted.cache_size_bytes = options.cache_size_bytes;
  Qcow2Disk::Parts parts;
  BYRE_CO_TRY(parts.image, co_await load_image(*pipe, std::move(header), std::move(wanted)));
  parts.storage = pipe;
  parts.backing = std::move(backing);
  parts.cache_size_bytes = options.cache_size_bytes;
  parts.discard = false;
  parts.cancel = options.cancel;
  parts.log = options.log;
  auto disk = std::make_unique<Qcow2Disk>(std::move(parts));
  Result<void> kept = pipe->keep(l2_tables(*disk), disk->cluster_size_bytes(), "L2 table");
  if (!kept) {
    [[maybe_unused]] const auto closed = co_await disk->close();
    co_return std::unexpected(std::move(kept).error());
  }
  co_return disk;
}

}  // namespace

Task<Result<std::unique_ptr<Disk>>> open_piped_image(std::shared_ptr<PipeReader> pipe, OpenOptions options) {
  auto opened = co_await open_image(pipe, std::move(options));
  if (!opened) co_return std::unexpected(std::move(opened).error().in_file(pipe->name()));
  co_return std::move(*opened);
}

}  // namespace byre
