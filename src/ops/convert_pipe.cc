// To a stream: open the sources, copy, flush; nothing is left to clean up. From a stream: the parts of convert.cc that
// cannot treat it like a file.
//
// Leaves out: a raw stream as the source of a qcow2 stream, which would have to be known before it has come.

#include "ops/convert_pipe.h"

#include "base/text.h"
#include "data/open.h"
#include "data/piped_disk.h"
#include "data/piped_image.h"
#include "data/raw_disk.h"
#include "ops/new_image_copy.h"
#include "ops/piped_image.h"
#include "ops/piped_source.h"

namespace byre::ops {
namespace {

Result<void> refuse(std::string_view stream, std::string_view what) {
  return fail(ErrorCode::invalid_argument, "{} and {} do not go together", stream, what);
}

Result<void> check_both(std::string_view stream, const ConvertOptions& options) {
  if (options.all_snapshots) return refuse(stream, "all snapshots (--all-snapshots)");
  if (options.copy.reflink == Reflink::always) return refuse(stream, "shared blocks (--reflink always)");
  if (options.copy.out_of_order) return refuse(stream, "writing out of order (-W)");
  return {};
}

Result<void> check_target_pipe(const ConvertOptions& options) {
  constexpr std::string_view stream = "a stream as the target";
  BYRE_CHECK(check_both(stream, options));
  if (!options.create) return refuse(stream, "a target that is not created (-n)");
  if (options.target.backing_file) return refuse(stream, "a backing file of the target (-B)");
  if (options.target.preallocation != Preallocation::off) return refuse(stream, "preallocation");
  if (options.deduplicate) return refuse(stream, "shared clusters (--dedup)");
  if (options.placement != Placement::compact) return refuse(stream, "--layout stable");
  if (options.resume) return refuse(stream, "--resume");
  if (options.target.format == "raw" && options.search_zeros) {
    return fail(ErrorCode::invalid_argument, "-S has no effect on a raw stream, which has all zeros");
  }
  const bool twice = options.copy.compress || options.search_zeros;
  if (!options.source_pipe || !twice) return {};
  return fail(
      ErrorCode::unsupported,
      "{} to a qcow2 stream reads the source twice, and a stream can be read only once: save it in a file first",
      options.copy.compress ? "-c" : "-S");
}

// What needs to know the size before the end.
Result<void> check_raw_source(const ConvertOptions& options) {
  constexpr std::string_view stream = "a raw stream as the source, whose size shows at its end,";
  if (options.target_pipe && options.target.format == "qcow2") {
    return fail(ErrorCode::unsupported,
                "a qcow2 stream begins with tables for all of the source, which a raw stream as the source does not "
                "tell: save it in a file first");
  }
  if (options.source.snapshot) return fail(ErrorCode::invalid_argument, "a raw disk has no snapshots");
  if (!options.create) return refuse(stream, "a target that is not created (-n)");
  if (options.target.backing_file) return refuse(stream, "a backing file of the target (-B)");
  if (options.target.preallocation != Preallocation::off) return refuse(stream, "preallocation");
  if (options.placement != Placement::compact) return refuse(stream, "--layout stable");
  return {};
}

class ConversionToPipe {
 public:
  ConversionToPipe(std::vector<NodeDescription> sources, ConvertOptions options)
      : source_nodes_(std::move(sources)), options_(std::move(options)) {}
  Task<Result<void>> run();

 private:
  Task<Result<void>> open_sources();
  Result<void> check_separate();
  Task<Result<void>> copy();
  Task<Result<void>> copy_raw();

  const std::vector<NodeDescription> source_nodes_;
  const ConvertOptions options_;
  std::vector<std::unique_ptr<Disk>> owned_;
  std::vector<Disk*> sources_;
};

Task<Result<void>> ConversionToPipe::open_sources() {
  for (const NodeDescription& node : source_nodes_) {
    OpenOptions open = options_.source;
    Result<std::unique_ptr<Disk>> disk;
    if (options_.source_pipe) {
      disk = co_await open_source_pipe(options_);
    } else {
      disk = co_await open_node(node, std::move(open));
    }
    if (!disk) co_return std::unexpected(std::move(disk).error());
    if (*disk == nullptr) continue;
    sources_.push_back(disk->get());
    owned_.push_back(std::move(*disk));
  }
  co_return Result<void>{};
}

// A stream may be a file.
Result<void> ConversionToPipe::check_separate() {
  const StorageIdentity target = options_.target_pipe->identity();
  for (Disk* source : sources_) {
    for (Disk* layer = source; layer != nullptr; layer = layer->backing()) {
      if (layer->storage().identity() != target) continue;
      return fail_in(options_.target_pipe->name(), ErrorCode::refused,
                     "the target is the source, or a file that the source is built on ('{}')",
                     escape_untrusted(layer->storage().name()));
    }
  }
  return {};
}

Task<Result<void>> ConversionToPipe::copy_raw() {
  Storage& target = *options_.target_pipe;
  PipedRawDisk disk(target, copy_size_bytes(sources_));
  CopyOptions copy = options_.copy;
  copy.sparse_bytes = 0;
  copy.reflink = Reflink::never;
  copy.target_content = TargetContent::zeros;
  if (sources_.empty()) {
    BYRE_CO_CHECK(co_await copy_raw_pipe(*options_.source_pipe, disk, std::move(copy)));
  } else {
    BYRE_CO_CHECK(co_await copy_disks(sources_, disk, std::move(copy)));
  }
  co_return co_await target.flush();
}

Task<Result<void>> ConversionToPipe::copy() {
  BYRE_CO_CHECK(check_separate());
  if (options_.target.format == "raw") {
    BYRE_CO_CHECK(co_await copy_raw());
  } else {
    BYRE_CO_CHECK(co_await write_piped_image(sources_, *options_.target_pipe, options_.target, options_.copy,
                                             options_.search_zeros));
  }
  if (!options_.source_pipe) co_return Result<void>{};
  co_return co_await options_.source_pipe->drain();
}

Task<Result<void>> ConversionToPipe::run() {
  Result<void> done = co_await open_sources();
  if (done) done = co_await copy();
  for (const auto& source : owned_) {
    Result<void> closed = co_await source->close();
    if (done && !closed) done = std::move(closed);
  }
  co_return done;
}

}  // namespace

Result<void> check_pipe_options(const std::vector<NodeDescription>& sources, const ConvertOptions& options) {
  if (options.target_pipe) BYRE_CHECK(check_target_pipe(options));
  if (!options.source_pipe) return {};
  constexpr std::string_view stream = "a stream as the source";
  BYRE_CHECK(check_both(stream, options));
  if (sources.size() > 1) return refuse(stream, "other sources");
  return {};
}

Task<Result<std::unique_ptr<Disk>>> open_source_pipe(const ConvertOptions& options) {
  OpenOptions open = options.source;
  open.writable = false;
  BYRE_CO_TRY(const std::string format, co_await decide_format(*options.source_pipe, open));
  if (format == "qcow2") co_return co_await open_piped_image(options.source_pipe, std::move(open));
  BYRE_CO_CHECK(check_raw_source(options));
  co_return nullptr;
}

Task<Result<void>> fill_raw_from_pipe(std::unique_ptr<Storage> created, const ConvertOptions& options) {
  CopyOptions copy = options.copy;
  // A device reads as whatever it held.
  const bool device = created->identity().inode == 0;
  copy.target_content = device ? TargetContent::unknown : TargetContent::zeros;
  RawDisk::Options raw;
  raw.writable = true;
  RawDisk disk(std::move(created), raw);
  BYRE_CO_CHECK(co_await copy_raw_pipe(*options.source_pipe, disk, std::move(copy)));
  co_return co_await disk.close();
}

Task<Result<void>> write_new_image_from_pipe(Storage& target, format::Header header, const ConvertOptions& options) {
  BYRE_CO_TRY(const std::unique_ptr<WriteOnlyDisk> disk, make_new_image_disk(target, std::move(header), options));
  BYRE_CO_CHECK(co_await disk->begin());
  CopyOptions copy = options.copy;
  copy.target_content = TargetContent::zeros;
  BYRE_CO_CHECK(co_await copy_raw_pipe(*options.source_pipe, *disk, std::move(copy)));
  co_return co_await disk->close();
}

Task<Result<void>> convert_to_pipe(std::vector<NodeDescription> sources, ConvertOptions options) {
  ConversionToPipe conversion(std::move(sources), std::move(options));
  co_return co_await conversion.run();
}

}  // namespace byre::ops
