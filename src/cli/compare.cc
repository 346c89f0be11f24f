// byre compare: do two images read the same? (docs/format.md C-19, C-20)
#include "byre/ops/compare.h"

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/loop.h"
#include "cli/output.h"
#include "cli/personality.h"
#include "cli/progress.h"

namespace byre::cli {

namespace {

constexpr int exit_different = 1;
constexpr int exit_cannot_open = 2;  // wrong options too: they must not pass for a difference
constexpr int exit_cannot_get_status = 3;
constexpr int exit_cannot_read = 4;

struct CompareArguments {
  std::string first;
  std::string second;
  OpenFlags open;
  std::optional<std::string> second_format;
  std::optional<std::string> snapshot;
  std::optional<std::string> second_snapshot;
  bool strict = false;
  bool progress = false;
  bool quiet = false;
};

int failure_code(CompareFailure::Step step) {
  switch (step) {
    case CompareFailure::Step::status: return exit_cannot_get_status;
    case CompareFailure::Step::read: return exit_cannot_read;
    case CompareFailure::Step::other: break;
  }
  return exit_failure;
}

int report_comparison(const Comparison& comparison, bool quiet) {
  std::string text;
  if (comparison.only_sizes_differ_so_far) text = "Warning: Image size mismatch!\n";
  switch (comparison.difference) {
    case Difference::none: text += "Images are identical.\n"; break;
    case Difference::size: text += "Strict mode: Image size mismatch!\n"; break;
    case Difference::status:
      text += fmt::format("Strict mode: Offset {} block status mismatch!\n", comparison.offset_bytes);
      break;
    case Difference::content: text += fmt::format("Content mismatch at offset {}!\n", comparison.offset_bytes); break;
  }
  if (!quiet) print(text);
  return comparison.difference == Difference::none ? exit_success : exit_different;
}

Task<Result<std::unique_ptr<Disk>>> open_image(std::string path, const CompareArguments& arguments,
                                               std::optional<std::string> format, std::optional<std::string> snapshot) {
  OpenOptions options = open_options(arguments.open, arguments.quiet);
  BYRE_CO_CHECK(choose_snapshot(snapshot, options));
  options.format = std::move(format);
  co_return co_await open_image(std::move(path), arguments.open, std::move(options));
}

Task<Result<int>> compare(const CompareArguments& arguments, CompareOptions options, Progress& progress) {
  auto first = co_await open_image(arguments.first, arguments, arguments.open.format, arguments.snapshot);
  if (!first) co_return report(std::unexpected(first.error()), exit_cannot_open);
  auto second = co_await open_image(arguments.second, arguments, arguments.second_format, arguments.second_snapshot);
  if (!second) {
    (void)co_await (*first)->close();  // nothing was written: there is nothing to lose
    co_return report(std::unexpected(second.error()), exit_cannot_open);
  }
  Disk& first_disk = **first;
  Disk& second_disk = **second;
  auto outcome = co_await compare_disks(first_disk, second_disk, std::move(options));
  (void)co_await second_disk.close();  // nothing was written: there is nothing to lose
  (void)co_await first_disk.close();
  if (outcome) {
    if (outcome->difference == Difference::none) {
      // With qemu-img the result stands on the line of the progress.
      personality().plain_results ? progress.show_complete() : progress.finish();
    }
    co_return report_comparison(*outcome, arguments.quiet);
  }
  co_return report(std::unexpected(outcome.error().error), failure_code(outcome.error().step));
}

int run_compare(const CompareArguments& arguments) {
  Progress progress(arguments.progress, arguments.quiet, "comparing");
  CompareOptions options;
  options.strict = arguments.strict;
  options.progress = [&](std::uint64_t done_bytes, std::uint64_t total_bytes) {
    progress.update(done_bytes, total_bytes);
  };
  catch_interrupts();
  options.cancel = &interrupted();
  const Result<int> code = run_on_loop(compare(arguments, std::move(options), progress));
  return code ? *code : report(std::unexpected(code.error()), exit_cannot_open);
}

}  // namespace

void register_compare(Cli& cli) {
  auto [parser, arguments] = cli.add<CompareArguments>({"compare", "Tell whether two images have the same content",
                                                        "  byre compare disk.img disk.qcow2\n"
                                                        "  byre compare -s -f qcow2 -F qcow2 a.qcow2 b.qcow2\n"
                                                        "  byre compare -l before-upgrade disk.qcow2 disk.qcow2\n",
                                                        exit_cannot_open},
                                                       run_compare);
  parser.add_option("first", arguments.first, "one image").required();
  parser.add_option("second", arguments.second, "the other one").required();
  add_open_flags(parser, arguments.open);
  add_format(parser, arguments.second_format, "-F,--second-format", "format of the second image (default: probed)");
  add_snapshot(parser, arguments.snapshot, "-l,--snapshot", " of the first image");
  add_snapshot(parser, arguments.second_snapshot, "-L,--second-snapshot", " of the second image");
  add_cache_mode(parser, "-T,--source-cache", arguments.open.cache, "cache mode of both images (default: writeback)");
  parser.add_flag("-s,--strict", arguments.strict, "sizes and allocation must be the same too");
  add_progress(parser, arguments.progress);
  add_quiet(parser, arguments.quiet);
}

}  // namespace byre::cli
