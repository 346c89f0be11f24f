// byre rebase: gives an image another backing file (docs/format.md C-25).
#include "byre/ops/chain.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/loop.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "data/reference.h"

namespace byre::cli {

namespace {

struct Arguments {
  std::string file;
  std::optional<std::string> backing;
  std::optional<std::string> backing_format;
  CacheMode source_cache = CacheMode::writeback;
  bool unsafe = false;
  bool quiet = false;
  bool progress = false;
  OpenFlags open;
};

// A name without a format would have to be guessed by whoever opens the image later.
Result<void> check_names(const Arguments& arguments) {
  if (!arguments.backing && arguments.unsafe) return {};  // none, as with the reference
  if (!arguments.backing) {
    return fail(ErrorCode::invalid_argument, "the new backing file must be named: -b FILE, or -b \"\" for none");
  }
  if (!arguments.backing->empty() && !arguments.backing_format) {
    return fail(ErrorCode::invalid_argument, "the backing format must be specified: -F qcow2 or -F raw");
  }
  return {};
}

Task<Result<std::unique_ptr<Disk>>> open_new_backing(const Arguments& arguments) {
  if (arguments.backing->empty()) co_return std::unique_ptr<Disk>();
  BYRE_CO_TRY(const std::string path, resolve_reference(arguments.file, *arguments.backing));
  OpenOptions options = open_options(arguments.open, arguments.quiet);
  options.format = arguments.backing_format;
  options.backing.format.reset();
  options.cache = arguments.source_cache;
  co_return co_await open_disk(path, std::move(options));
}

Task<Result<void>> rebase_opened(Disk& top, const Arguments& arguments, ChainOptions options) {
  BYRE_CO_TRY(const std::unique_ptr<Disk> backing, co_await open_new_backing(arguments));
  if (backing) {
    for (Disk* layer = backing.get(); layer; layer = layer->backing()) {
      if (layer->storage().identity() != top.storage().identity()) continue;
      (void)co_await backing->close();
      co_return fail(ErrorCode::invalid_argument, "the image would be its own backing file");
    }
  }
  auto done = co_await rebase_disk(top, backing.get(), *arguments.backing, arguments.backing_format.value_or(""),
                                   std::move(options));
  if (backing) (void)co_await backing->close();  // was only read
  co_return done;
}

Task<Result<void>> rebase_file(const Arguments& arguments, ChainOptions options) {
  OpenOptions open = open_options(arguments.open, arguments.quiet);
  open.writable = true;
  if (arguments.unsafe) open.backing.follow = false;
  BYRE_CO_TRY(const std::unique_ptr<Disk> top, co_await open_disk(arguments.file, std::move(open)));
  Result<void> done;
  if (arguments.unsafe) {
    done = co_await record_backing(*top, arguments.backing.value_or(""), arguments.backing_format);
  } else {
    done = co_await rebase_opened(*top, arguments, std::move(options));
  }
  auto closed = co_await top->close();
  co_return done ? closed : done;
}

int run(const Arguments& arguments) {
  if (auto named = check_names(arguments); !named) return report(named);
  catch_interrupts();
  Progress progress(arguments.progress, arguments.quiet, "rebasing");
  ChainOptions options;
  options.progress = [&progress](std::uint64_t done, std::uint64_t total) { progress.update(done, total); };
  options.cancel = &interrupted();
  const auto done = run_on_loop(rebase_file(arguments, std::move(options)));
  if (!done) return report(done);
  progress.finish();
  return exit_success;
}

}  // namespace

void register_rebase(Cli& cli) {
  auto [app, arguments] = cli.add<Arguments>({"rebase", "Give an image another backing file",
                                              "  byre rebase -b new-base.qcow2 -F qcow2 overlay.qcow2\n"
                                              "  byre rebase -b \"\" overlay.qcow2              # onto nothing\n"
                                              "  byre rebase -u -b renamed.qcow2 -F qcow2 overlay.qcow2\n\n"
                                              "The disk reads the same afterwards: what differs below is copied first, "
                                              "unless -u says that nothing does.\n"},
                                             run);
  app.add_option("file", arguments.file, "the image")->required();
  app.add_option("-b,--backing", arguments.backing, "the new backing file, as the image will name it; \"\" for none")
      ->type_name("FILE");
  app.add_option("-F,--new-backing-format", arguments.backing_format, "its format: qcow2 or raw")->type_name("FMT");
  app.add_flag("-u,--unsafe", arguments.unsafe, "only record the name: the content is the same (renamed files)");
  add_cache_mode(app, "-t,--cache", arguments.open.cache, "how the image is written");
  add_cache_mode(app, "-T,--source-cache", arguments.source_cache, "how the new backing file is read");
  add_quiet(app, arguments.quiet);
  add_progress(app, arguments.progress);
  add_open_flags(app, arguments.open);
}

}  // namespace byre::cli
