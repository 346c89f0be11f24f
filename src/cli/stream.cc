// byre stream: copies into an image what it needs from layers below it, so that they can go.
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
  bool quiet = false;
  bool progress = false;
  OpenFlags open;
};

Task<Result<void>> stream(Disk& top, const Arguments& arguments, ChainOptions options) {
  if (!arguments.base) {
    if (!top.backing()) co_return Result<void>{};  // done already
    co_return co_await stream_disk(top, nullptr, "", std::move(options));
  }
  Disk* const base = find_layer(top, *arguments.base);
  if (!base) {
    co_return fail(ErrorCode::not_found, "did not find '{}' in the backing chain", escape_untrusted(*arguments.base));
  }
  if (base == top.backing()) co_return Result<void>{};
  const std::string name = name_for(top, *base, *arguments.base);
  co_return co_await stream_disk(top, base, name, std::move(options));
}

Task<Result<void>> stream_file(const Arguments& arguments, ChainOptions options) {
  OpenOptions open = open_options(arguments.open, arguments.quiet);
  open.writable = true;
  BYRE_CO_TRY(const std::unique_ptr<Disk> top, co_await open_disk(arguments.file, std::move(open)));
  auto done = co_await stream(*top, arguments, std::move(options));
  auto closed = co_await top->close();
  if (!done) co_return std::unexpected(std::move(done).error().with_context(escape_untrusted(arguments.file)));
  co_return closed;
}

int run(const Arguments& arguments) {
  catch_interrupts();
  Progress progress(arguments.progress, arguments.quiet, "streaming");
  ChainOptions options;
  options.bytes_per_second = arguments.rate.value_or(0);
  options.progress = [&progress](std::uint64_t done, std::uint64_t total) { progress.update(done, total); };
  options.cancel = &interrupted();
  const auto done = run_on_loop(stream_file(arguments, std::move(options)));
  if (!done) return report(done);
  progress.finish();
  return exit_success;
}

}  // namespace

void register_stream(Cli& cli) {
  auto [app, arguments] =
      cli.add<Arguments>({"stream", "Copy what an image needs from layers below it into it",
                          "  byre stream overlay.qcow2                   # no backing file any more\n"
                          "  byre stream -b base.qcow2 top.qcow2         # without those in between\n\n"
                          "In place; what reads as zeros stays unstored. May be interrupted and run "
                          "again.\n"},
                         run);
  app.add_option("file", arguments.file, "the image to stream into")->required();
  app.add_option("-b,--base", arguments.base, "the layer that stays its backing file (default: none)")
      ->type_name("FILE");
  add_size(app, "-r,--rate-limit", arguments.rate, "copy at most so many bytes a second");
  add_cache_mode(app, "-t,--cache", arguments.open.cache, "how the image is written");
  add_quiet(app, arguments.quiet);
  add_progress(app, arguments.progress);
  add_open_flags(app, arguments.open);
}

}  // namespace byre::cli
