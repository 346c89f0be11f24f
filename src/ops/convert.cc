// Straight down: open the sources and keep them open (their locks keep others, and this run, from writing to them),
// refuse what must be refused, create the target, open it, copy, flush, close. A new target is made beside the old one
// (storage/staged_file.h) where that can be done: make_staged(). Else it is written in place: make_in_place(). Only
// behind create_image() is there something to clean up then, and all of that is in discard_target().
//
// Left out: bitmaps are not copied.
#include "byre/ops/convert.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "byre/storage/file.h"
#include "data/load.h"
#include "ops/convert_pipe.h"
#include "ops/create_file.h"
#include "ops/image_sequence.h"
#include "ops/new_image_copy.h"
#include "ops/shareable.h"
#include "storage/resumed_storage.h"
#include "storage/staged_file.h"

namespace byre {

namespace {

constexpr unsigned most_parallel_requests = 16;
constexpr std::uint64_t largest_sparse_bytes = 16 << 20;

using Disks = std::vector<std::unique_ptr<Disk>>;

class Conversion {
 public:
  Conversion(std::vector<NodeDescription> sources, NodeDescription target, ConvertOptions options)
      : source_nodes_(std::move(sources)),
        target_(std::move(target)),
        target_path_(target_.path().value_or(target_.text())),
        options_(std::move(options)) {}

  Task<Result<void>> run();

 private:
  Task<Result<void>> run_with_sources();
  Task<Result<void>> open_sources();
  Result<void> check_separate();
  Result<bool> exists_beside_sources(const std::string& path) const;
  Result<void> check_is_no_source(const Storage& target, const std::string& name) const;
  Task<Result<void>> check_can_share();
  Task<Result<std::unique_ptr<Storage>>> create_target();
  Task<Result<std::unique_ptr<Disk>>> open_target(std::unique_ptr<Storage> created);
  Task<Result<void>> fill_target(std::unique_ptr<Storage> created);
  Task<Result<void>> fill_new_image(Storage& storage, format::Header header);
  TargetContent content_of(Disk& target) const;
  Task<Result<void>> fill(Disk& target);
  Task<std::string> discard_target();
  Task<Result<void>> make_in_place();
  Task<Result<CreateOptions>> prepare_staged() const;
  Task<Result<void>> make_staged(StagedFile& staged, CreateOptions create);
  Task<Result<void>> fill_staged(StagedFile& staged, CreateOptions create);
  Task<Result<void>> fill_empty(Storage& storage, CreateOptions create);
  std::string give_up(StagedFile& staged) const;
  std::vector<Disk*> sources() const;

  std::vector<NodeDescription> source_nodes_;
  NodeDescription target_;
  std::string target_path_;  // if it is one
  ConvertOptions options_;
  Disks sources_;
  bool target_existed_ = false;
  StorageIdentity made_;  // what this run has created
};

Error with_remark(const Error& error, std::string_view remark) { return Error(error).with_remark(remark); }

std::vector<Disk*> Conversion::sources() const {
  std::vector<Disk*> result;
  for (const auto& disk : sources_) result.push_back(disk.get());
  return result;
}

Task<Result<void>> Conversion::open_sources() {
  if (options_.source_pipe) {
    BYRE_CO_TRY(std::unique_ptr<Disk> disk, co_await ops::open_source_pipe(options_));
    if (disk) sources_.push_back(std::move(disk));
    co_return Result<void>();
  }
  for (const NodeDescription& node : source_nodes_) {
    OpenOptions options = options_.source;
    options.writable = false;
    BYRE_CO_TRY(std::unique_ptr<Disk> disk, co_await open_node(node, std::move(options)));
    sources_.push_back(std::move(disk));
  }
  co_return Result<void>();
}

// Looks at the file without a lock, so that the answer is not "locked" where the sources are the ones that hold it.
// Errors: refused (it is one of the files that the sources are made of).
Result<bool> Conversion::exists_beside_sources(const std::string& path) const {
  FileOptions look;
  look.locking = Locking::force_share;
  Result<std::unique_ptr<Storage>> file = open_file(path, look);
  if (!file && file.error().code() == ErrorCode::not_found && options_.create) return false;
  if (!file) return std::unexpected(std::move(file).error());
  BYRE_CHECK(check_is_no_source(**file, path));
  return true;
}

Result<void> Conversion::check_is_no_source(const Storage& target, const std::string& name) const {
  if (options_.source_pipe && options_.source_pipe->identity() == target.identity()) {
    return fail(ErrorCode::refused, "{}: the target is the source", escape_untrusted(name));
  }
  for (const auto& source : sources_) {
    for (Disk* layer = source.get(); layer != nullptr; layer = layer->backing()) {
      if (layer->storage().identity() != target.identity()) continue;
      return fail(ErrorCode::refused, "{}: the target is the source, or a file that the source is built on ('{}')",
                  escape_untrusted(name), escape_untrusted(layer->storage().name()));
    }
  }
  return {};
}

// What is described otherwise than by a path is looked at once it is open (fill_target()): opening it a second time may
// be more than it allows.
Result<void> Conversion::check_separate() {
  if (!target_.is_path()) {
    target_existed_ = true;
    return {};
  }
  BYRE_TRY(target_existed_, exists_beside_sources(target_path_));
  return {};
}

// A target that cannot share blocks although it must keeps what it holds.
Task<Result<void>> Conversion::check_can_share() {
  if (options_.copy.reflink != Reflink::always || !target_existed_) co_return Result<void>();
  FileOptions writable;
  writable.writable = true;
  BYRE_CO_TRY(const std::unique_ptr<Storage> target, open_file(target_path_, writable));
  const ops::ImageSequence images(sources());
  const std::uint64_t cluster_bytes = options_.target.format == "raw" ? 0 : options_.target.cluster_size_bytes;
  BYRE_CO_CHECK(ops::check_shareable_sizes(images, *target, cluster_bytes));
  BYRE_CO_CHECK(co_await ops::find_shareable(images, *target, true));
  co_return Result<void>();
}

Task<Result<std::unique_ptr<Storage>>> Conversion::create_target() {
  CreateOptions create = options_.target;
  create.size_bytes = copy_size_bytes(sources());
  co_return co_await create_image(target_, std::move(create), options_.target_cache);
}

// What was created is never looked up by its name again; an existing target (`created` is null) is opened by it.
Task<Result<std::unique_ptr<Disk>>> Conversion::open_target(std::unique_ptr<Storage> created) {
  OpenOptions options;
  options.format = options_.target.format;
  options.writable = true;
  options.cache = options_.target_cache;
  options.backing = options_.source.backing;
  options.backing.format = options_.target.backing_format;
  options.cancel = options_.copy.cancel;
  options.log = options_.source.log;
  if (created) co_return co_await open_disk(std::move(created), std::move(options));
  co_return co_await open_node(target_, std::move(options));
}

TargetContent Conversion::content_of(Disk& target) const {
  if (options_.target.backing_file) {
    const Disk* below = sources_.front()->backing();
    const bool same = options_.create && below != nullptr && target.backing() != nullptr &&
                      sources_.front()->backing()->storage().identity() == target.backing()->storage().identity() &&
                      below->format() == target.backing()->format();
    return same ? TargetContent::same_below : TargetContent::compared;
  }
  if (options_.target_reads_zero) return TargetContent::zeros;
  // A raw disk on a device (inode 0) or a server reads as whatever the device held.
  const bool device = target.storage().identity().inode == 0 || !target_.is_path();
  return options_.create && !(device && target.format() == "raw") ? TargetContent::zeros : TargetContent::unknown;
}

// Closes the target, whatever happens: an image that was there before has to stay consistent.
Task<Result<void>> Conversion::fill(Disk& target) {
  CopyOptions copy = options_.copy;
  copy.target_content = content_of(target);
  // What exists keeps its blocks, and reserved ones are there to be used.
  if (!options_.create || options_.target.preallocation != Preallocation::off) copy.reflink = Reflink::never;
  Result<void> copied = co_await copy_disks(sources(), target, std::move(copy));
  if (copied) copied = co_await target.flush();
  Result<void> closed = co_await target.close();
  co_return copied ? closed : copied;
}

// Without a source that is a disk, it is a raw stream.
Task<Result<void>> Conversion::fill_new_image(Storage& storage, format::Header header) {
  if (sources_.empty()) co_return co_await ops::write_new_image_from_pipe(storage, std::move(header), options_);
  co_return co_await ops::write_new_image(sources(), storage, std::move(header), options_);
}

Task<Result<void>> Conversion::fill_target(std::unique_ptr<Storage> created) {
  if (ops::is_written_in_one_go(options_)) {
    BYRE_CO_TRY(format::Header header, co_await read_header(*created, format::HeaderUse::write));
    co_return co_await fill_new_image(*created, std::move(header));
  }
  if (sources_.empty()) co_return co_await ops::fill_raw_from_pipe(std::move(created), options_);
  BYRE_CO_TRY(const std::unique_ptr<Disk> target, co_await open_target(std::move(created)));
  const Result<void> separate = check_is_no_source(target->storage(), target_path_);
  if (separate) co_return co_await fill(*target);
  (void)co_await target->close();  // nothing was written
  co_return separate;
}

// Removes what this run has made, unless something else has the name by now. Returns what became of it.
Task<std::string> Conversion::discard_target() {
  if (!target_.is_path()) co_return "the target is incomplete";
  FileOptions writable;
  writable.writable = true;
  auto storage = open_file(target_path_, writable);
  const bool ours = storage && (*storage)->identity() == made_;
  if (!ours || made_.inode == 0) co_return "the target is incomplete";
  if (!target_existed_) {
    if (::unlink(target_path_.c_str()) == 0) co_return "the unfinished target was removed";
    co_return "the target is incomplete";
  }
  const Result<void> emptied = co_await (*storage)->resize(0);
  co_return emptied ? "the unfinished target was emptied" : "the target is incomplete";
}

// Whatever can be refused is refused before NAME.partial is touched, which must not be part of the chain either.
Task<Result<CreateOptions>> Conversion::prepare_staged() const {
  CreateOptions create = options_.target;
  create.size_bytes = copy_size_bytes(sources());
  BYRE_CO_TRY(CreateOptions prepared, co_await prepare_create(target_path_, create));
  if (create.backing_file) {
    const std::string partial = StagedFile::partial_path(target_path_);
    BYRE_CO_TRY(prepared, co_await prepare_create(partial, std::move(create)));
  }
  co_return prepared;
}

Task<Result<void>> Conversion::fill_empty(Storage& storage, CreateOptions create) {
  if (ops::is_written_in_one_go(options_)) {
    BYRE_CO_TRY(format::Header header, co_await ops::new_image_header(std::move(create)));
    co_return co_await fill_new_image(storage, std::move(header));
  }
  BYRE_CO_CHECK(co_await ops::fill_empty_file(storage, std::move(create)));
  auto borrowed = std::make_unique<BorrowedStorage>(storage, target_path_);
  if (sources_.empty()) co_return co_await ops::fill_raw_from_pipe(std::move(borrowed), options_);
  BYRE_CO_TRY(const std::unique_ptr<Disk> target, co_await open_target(std::move(borrowed)));
  co_return co_await fill(*target);
}

// The file stays open, and locked, until it has its name.
Task<Result<void>> Conversion::fill_staged(StagedFile& staged, CreateOptions create) {
  if (!staged.resumed()) {
    BorrowedStorage storage(staged.storage(), target_path_);
    co_return co_await fill_empty(storage, std::move(create));
  }
  ResumedStorage storage(staged.storage(), target_path_);
  BYRE_CO_CHECK(co_await storage.begin());
  BYRE_CO_CHECK(co_await fill_empty(storage, std::move(create)));
  BYRE_CO_CHECK(co_await storage.finish());
  co_return co_await storage.flush();
}

// Returns what became of the target.
std::string Conversion::give_up(StagedFile& staged) const {
  if (staged.placed()) return "the target is complete";
  const std::string partial = escape_untrusted(staged.partial_path(), 4096);
  if (options_.resume && staged.storage().size_bytes() > 0) {
    return fmt::format("what was made is kept in {}: --resume goes on with it", partial);
  }
  if (!staged.discard()) return fmt::format("the target is as it was, but {} is still there", partial);
  return staged.replaces() ? "the target is as it was" : "the unfinished target was removed";
}

Task<Result<void>> Conversion::make_staged(StagedFile& staged, CreateOptions create) {
  Result<void> done = co_await fill_staged(staged, std::move(create));
  if (done && options_.source_pipe) done = co_await options_.source_pipe->drain();
  if (done) done = staged.take_place();
  if (done) co_return done;
  const std::string fate = give_up(staged);
  co_return std::unexpected(with_remark(done.error(), fate));
}

Task<Result<void>> Conversion::run_with_sources() {
  BYRE_CO_CHECK(check_separate());
  BYRE_CO_CHECK(co_await ops::check_states(sources(), options_));
  BYRE_CO_CHECK(ops::check_new_image(copy_size_bytes(sources()), options_));
  if (!options_.create || !target_.is_path()) co_return co_await make_in_place();
  BYRE_CO_TRY(CreateOptions create, co_await prepare_staged());
  const Result<bool> partial = exists_beside_sources(StagedFile::partial_path(target_path_));
  if (!partial && partial.error().code() == ErrorCode::refused) co_return std::unexpected(partial.error());
  StagingOptions staging;
  staging.cache = options_.target_cache;
  staging.resume = options_.resume;
  BYRE_CO_TRY(const std::unique_ptr<StagedFile> staged, StagedFile::open(target_path_, staging));
  if (!staged) co_return co_await make_in_place();
  co_return co_await make_staged(*staged, std::move(create));
}

Task<Result<void>> Conversion::make_in_place() {
  BYRE_CO_CHECK(co_await check_can_share());
  std::unique_ptr<Storage> created;
  if (options_.create) {
    BYRE_CO_TRY(created, co_await create_target());
    made_ = created->identity();
  }
  Result<void> done = co_await fill_target(std::move(created));
  if (done && options_.source_pipe) done = co_await options_.source_pipe->drain();
  if (done) co_return done;
  Error error = std::move(done).error();
  if (options_.create) {
    const std::string fate = co_await discard_target();
    co_return std::unexpected(with_remark(error, fate));
  }
  // Wrong arguments were found before the first write.
  if (error.code() == ErrorCode::invalid_argument) co_return std::unexpected(std::move(error));
  co_return std::unexpected(with_remark(error, "the target is incomplete"));
}

Task<Result<void>> Conversion::run() {
  Result<void> done = co_await open_sources();
  if (done) done = co_await run_with_sources();
  for (const auto& source : sources_) {
    Result<void> closed = co_await source->close();
    if (done && !closed) done = std::move(closed);
  }
  co_return done;
}

Result<void> check_copy_options(const CopyOptions& copy) {
  if (copy.parallel_requests < 1 || copy.parallel_requests > most_parallel_requests) {
    return fail(ErrorCode::invalid_argument, "-m {}: the number of parallel requests must be 1 to {}",
                copy.parallel_requests, most_parallel_requests);
  }
  if (copy.sparse_bytes % 512 != 0 || copy.sparse_bytes > largest_sparse_bytes) {
    return fail(ErrorCode::invalid_argument, "-S {}: must be a multiple of 512, at most {}; 0 stores all zeros",
                copy.sparse_bytes, largest_sparse_bytes);
  }
  return {};
}

// What the copy of an image with its snapshots cannot be.
Result<void> check_all_snapshots(const std::vector<NodeDescription>& sources, const ConvertOptions& options) {
  const auto refuse = [](std::string_view what) {
    return fail(ErrorCode::invalid_argument, "--all-snapshots and {} do not go together", what);
  };
  if (options.target.format == "raw") {
    return fail(ErrorCode::unsupported, "--all-snapshots: a raw image cannot hold snapshots; use -O qcow2");
  }
  if (sources.size() > 1) return refuse("several sources");
  if (options.source.snapshot) return refuse("one snapshot (-l)");
  if (!options.create) return refuse("a target that is not created (-n)");
  if (options.target.backing_file) return refuse("a backing file of the target (-B)");
  if (options.target.preallocation != Preallocation::off) return refuse("preallocation");
  if (options.copy.bytes_per_second != 0) return refuse("a rate limit (-r)");
  return {};
}

// What a copy that can be gone on with cannot be.
Result<void> check_resume(const ConvertOptions& options) {
  const auto refuse = [](std::string_view what) {
    return fail(ErrorCode::invalid_argument, "--resume and {} do not go together", what);
  };
  if (!options.create) return refuse("a target that is not created (-n)");
  if (options.target.preallocation != Preallocation::off) return refuse("preallocation");
  return {};
}

// What the copy with shared blocks cannot be.
Result<void> check_reflink(const ConvertOptions& options) {
  const auto refuse = [](std::string_view what) {
    return fail(ErrorCode::invalid_argument, "--reflink always and {} do not go together", what);
  };
  if (options.copy.compress) return refuse("compression (-c)");
  if (options.copy.sparse_bytes == 0) return refuse("zeros that are stored (-S 0)");
  if (!options.create) return refuse("a target that is not created (-n)");
  if (options.target.backing_file) return refuse("a backing file of the target (-B)");
  if (options.target.preallocation != Preallocation::off) return refuse("preallocation");
  return {};
}

}  // namespace

Result<void> check_convert_options(const std::vector<NodeDescription>& sources, const ConvertOptions& options) {
  BYRE_CHECK(check_copy_options(options.copy));
  if (sources.empty()) return fail(ErrorCode::invalid_argument, "at least one source is needed");
  if (options.target_reads_zero && options.create) {
    return fail(ErrorCode::invalid_argument, "--target-is-zero is for a target that is not created: it needs -n");
  }
  if (options.copy.compress && options.target.format == "raw") {
    return fail(ErrorCode::unsupported, "-c: a raw image cannot hold compressed data; use -O qcow2");
  }
  if (options.target.backing_file && options.target.format == "raw") {
    return fail(ErrorCode::unsupported, "a raw image cannot have a backing file; use -O qcow2");
  }
  BYRE_CHECK(ops::check_pipe_options(sources, options));
  if (options.resume) BYRE_CHECK(check_resume(options));
  if (options.all_snapshots) BYRE_CHECK(check_all_snapshots(sources, options));
  if (options.copy.reflink == Reflink::always) BYRE_CHECK(check_reflink(options));
  BYRE_CHECK(ops::check_new_image_options(options));
  if (sources.size() > 1 && options.target.backing_file) {
    return fail(ErrorCode::invalid_argument, "several sources and a backing file of the target do not go together");
  }
  if (sources.size() > 1 && options.source.snapshot) {
    return fail(ErrorCode::invalid_argument, "several sources and a snapshot (-l) do not go together");
  }
  return {};
}

Task<Result<void>> convert_images(std::vector<NodeDescription> sources, NodeDescription target,
                                  ConvertOptions options) {
  BYRE_CO_CHECK(check_convert_options(sources, options));
  if (options.create && options.source_pipe && !options.target_pipe && !target.is_path()) {
    co_return fail(ErrorCode::unsupported, "'{}': what comes as a stream goes into a file or a stream",
                   escape_untrusted(target.text(), 4096));
  }
  if (options.target_pipe) co_return co_await ops::convert_to_pipe(std::move(sources), std::move(options));
  Conversion conversion(std::move(sources), std::move(target), std::move(options));
  co_return co_await conversion.run();
}

}  // namespace byre
