// byre commit: moves what an overlay holds into a layer below it (docs/format.md C-25).
#include "byre/ops/chain.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/loop.h"
#include "cli/output.h"
#include "cli/progress.h"

namespace byre::cli {

namespace {

struct Arguments {
  std::string file;
  std::optional<std::string> base;
  std::optional<std::uint64_t> rate;
  bool keep = false;
  bool quiet = false;
  bool progress = false;
  OpenFlags open;
};

Task<Result<void>> commit(const Arguments& arguments, ChainOptions options) {
  OpenOptions open = open_options(arguments.open, arguments.quiet);
  BYRE_CO_TRY(CommitChain chain,
              co_await open_commit_chain(arguments.file, std::move(open), arguments.base, arguments.keep));
  auto done = co_await commit_disk(chain, std::move(options));
  auto closed = co_await chain.top->close();
  if (!done) co_return std::unexpected(std::move(done).error().with_context(escape_untrusted(arguments.file)));
  co_return closed;
}

int run(const Arguments& arguments) {
  catch_interrupts();
  Progress progress(arguments.progress, arguments.quiet, "committing");
  ChainOptions options;
  options.bytes_per_second = arguments.rate.value_or(0);
  options.progress = [&progress](std::uint64_t done, std::uint64_t total) { progress.update(done, total); };
  options.cancel = &interrupted();
  const auto done = run_on_loop(commit(arguments, std::move(options)));
  if (!done) return report(done);
  progress.finish();
  if (!arguments.quiet) print("Image committed.\n");
  return exit_success;
}

}  // namespace

void register_commit(Cli& cli) {
  auto [app, arguments] = cli.add<Arguments>({"commit", "Move what an overlay holds into a layer below it",
                                              "  byre commit overlay.qcow2\n"
                                              "  byre commit -d -b base.qcow2 top.qcow2\n\n"
                                              "May be interrupted and run again. Layers between the image and the base "
                                              "cannot be used afterwards.\n"},
                                             run);
  app.add_option("file", arguments.file, "the image whose changes are committed")->required();
  app.add_option("-b,--base", arguments.base, "commit into this layer of the chain (default: the backing file)")
      ->type_name("FILE");
  app.add_flag("-d,--drop", arguments.keep, "leave the image as it is instead of emptying it: it is not used any more");
  add_size(app, "-r,--rate-limit", arguments.rate, "copy at most so many bytes a second");
  add_cache_mode(app, "-t,--cache", arguments.open.cache, "how the images are written");
  add_quiet(app, arguments.quiet);
  add_progress(app, arguments.progress);
  add_open_flags(app, arguments.open);
}

}  // namespace byre::cli
