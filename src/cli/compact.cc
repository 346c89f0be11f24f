// byre compact: makes an image smaller in place.
#include "byre/ops/compact.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/loop.h"
#include "cli/output.h"
#include "cli/progress.h"

namespace byre::cli {

namespace {

struct CompactArguments {
  std::string file;
  bool zeroes = false;
  bool quiet = false;
  bool progress = false;
  OutputFormat output = OutputFormat::human;
  OpenFlags open;
};

void print_report(const CompactArguments& arguments, const CompactReport& report) {
  if (arguments.output == OutputFormat::json) {
    print_json({{"filename", arguments.file},
                {"file-size-before", report.file_size_before_bytes},
                {"file-size", report.file_size_after_bytes},
                {"moved", report.moved_bytes},
                {"dropped", report.dropped_bytes}});
  } else if (!arguments.quiet) {
    print(fmt::format("{} before, {} now: {} moved, {} no longer stored\n", human_size(report.file_size_before_bytes),
                      human_size(report.file_size_after_bytes), human_size(report.moved_bytes),
                      human_size(report.dropped_bytes)));
  }
}

// The size is told once the file is closed: only then does it end where it will.
Task<Result<void>> compact_file(const CompactArguments& arguments, CompactOptions options, CompactReport& report) {
  OpenOptions open = open_options(arguments.open, arguments.quiet);
  open.writable = true;
  BYRE_CO_TRY(const std::unique_ptr<Disk> disk, co_await open_image(arguments.file, arguments.open, std::move(open)));
  auto done = co_await compact_disk(*disk, std::move(options));
  auto closed = co_await disk->close();
  if (!done) co_return std::unexpected(std::move(done).error());
  report = *done;
  co_return closed;
}

int run_compact(const CompactArguments& arguments) {
  catch_interrupts();
  Progress progress(arguments.progress, arguments.quiet, "compacting");
  CompactOptions options;
  options.zeroes = arguments.zeroes;
  options.progress = [&progress](std::uint64_t done, std::uint64_t total) { progress.update(done, total); };
  options.cancel = &interrupted();
  CompactReport result;
  const auto done = run_on_loop(compact_file(arguments, std::move(options), result));
  if (!done) return report(done);
  progress.finish();
  print_report(arguments, result);
  return exit_success;
}

}  // namespace

void register_compact(Cli& cli) {
  auto [parser, arguments] =
      cli.add<CompactArguments>({"compact", "Make an image smaller in place",
                                 "  byre compact disk.qcow2\n"
                                 "  byre compact --zeroes disk.qcow2    # also reads all data for zeros\n\n"
                                 "Moves what lies at the end of the file into free space in front and cuts "
                                 "the file. Snapshots stay. May be interrupted and run again.\n"},
                                run_compact);
  parser.add_option("file", arguments.file, "the image").required();
  parser.add_flag("--zeroes", arguments.zeroes, "keep no data for clusters that hold only zeros");
  add_cache_mode(parser, "-t,--cache", arguments.open.cache, "how the image is written");
  add_output(parser, arguments.output);
  add_quiet(parser, arguments.quiet);
  add_progress(parser, arguments.progress);
  add_open_flags(parser, arguments.open);
}

}  // namespace byre::cli
