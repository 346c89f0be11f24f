#include "cli/chain_flags.h"

#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/loop.h"
#include "cli/output.h"
#include "cli/progress.h"

namespace byre::cli {

OpenOptions ChainFlags::open_options_for_writing() const {
  OpenOptions options = open_options(open, quiet);
  options.writable = true;
  return options;
}

void add_chain_flags(Parser& parser, ChainFlags& flags, const std::string& file_description) {
  parser.add_option("file", flags.file, file_description).required();
  add_cache_mode(parser, "-t,--cache", flags.open.cache, "how images are written");
  add_quiet(parser, flags.quiet);
  add_progress(parser, flags.progress);
  add_open_flags(parser, flags.open);
}

int run_chain_work(const ChainFlags& flags, const std::string& verb, ChainOptions options, const std::string& done_text,
                   const std::function<Task<Result<void>>(ChainOptions)>& work) {
  catch_interrupts();
  Progress progress(flags.progress, flags.quiet, verb);
  options.progress = [&progress](std::uint64_t done, std::uint64_t total) { progress.update(done, total); };
  options.cancel = &interrupted();
  const auto done = run_on_loop(work(std::move(options)));
  if (!done) return report(done);
  progress.finish();
  if (!flags.quiet) print(done_text);
  return exit_success;
}

}  // namespace byre::cli
