// byre measure: how long the file of a new image would be (docs/format.md C-17, C-18).
#include "byre/ops/measure.h"

#include <nlohmann/json.hpp>

#include "byre/storage/memory.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/loop.h"
#include "cli/option_help.h"
#include "cli/output.h"
#include "cli/personality.h"
#include "cli/progress.h"
#include "ops/measure_options.h"

namespace byre::cli {

namespace {

struct MeasureArguments {
  std::string file;
  std::optional<std::uint64_t> size_bytes;
  std::optional<std::string> target_format;
  std::optional<std::string> snapshot;
  std::vector<std::string> options;
  OutputFormat output = OutputFormat::human;
  OpenFlags open;
  bool exact = false;
  bool compress = false;
  bool all_snapshots = false;
  bool deduplicate = false;
  Placement placement = Placement::compact;
  Reflink reflink = Reflink::never;
};

// An option that only the exact size depends on; empty if there is none.
std::string_view exact_option(const MeasureArguments& arguments) {
  if (arguments.compress) return "-c";
  if (arguments.all_snapshots) return "--all-snapshots";
  if (arguments.deduplicate) return "--dedup";
  if (arguments.placement != Placement::compact) return "--layout";
  return arguments.reflink != Reflink::never ? "--reflink" : "";
}

Task<Result<std::unique_ptr<Disk>>> open_source(MeasureArguments arguments) {
  OpenOptions options = open_options(arguments.open);
  BYRE_CO_CHECK(choose_snapshot(arguments.snapshot, options));
  if (!arguments.size_bytes) co_return co_await open_image(arguments.file, arguments.open, std::move(options));
  options.format = "raw";
  co_return co_await open_disk(std::make_unique<MemoryStorage>(*arguments.size_bytes), std::move(options));
}

Task<Result<Measurement>> measure_open(Disk& disk, MeasureTarget target, const MeasureArguments& arguments) {
  BYRE_CO_TRY(Measurement result, co_await measure_disk(disk, target));
  if (!arguments.exact) co_return result;
  if (target.extended_l2 || target.encryption_area_bytes > 0) {
    co_return fail(ErrorCode::unsupported, "--exact: images with {} cannot be made yet",
                   target.extended_l2 ? "extended_l2=on" : "encryption");
  }
  Progress progress(false, false, "measuring");
  ConvertOptions exact;
  exact.target = target.options;
  exact.all_snapshots = arguments.all_snapshots;
  exact.deduplicate = arguments.deduplicate;
  exact.placement = arguments.placement;
  exact.copy.compress = arguments.compress;
  exact.copy.reflink = arguments.reflink;
  exact.copy.progress = [&](std::uint64_t done_bytes, std::uint64_t total_bytes) {
    progress.update(done_bytes, total_bytes);
  };
  BYRE_CO_TRY(result.required_bytes, co_await measure_exactly(disk, std::move(exact)));
  co_return result;
}

Task<Result<Measurement>> measure_file(MeasureArguments arguments, MeasureTarget target) {
  BYRE_CO_TRY(const std::unique_ptr<Disk> disk, co_await open_source(arguments));
  auto result = co_await measure_open(*disk, std::move(target), arguments);
  BYRE_CO_CHECK(co_await disk->close());
  co_return result;
}

void print_measurement(const Measurement& result, OutputFormat output) {
  if (output == OutputFormat::human) {
    print(fmt::format("required size: {}\nfully allocated size: {}\n", result.required_bytes,
                      result.fully_allocated_bytes));
    if (result.bitmaps_bytes) print(fmt::format("bitmaps size: {}\n", *result.bitmaps_bytes));
    return;
  }
  Json json = {{"required", result.required_bytes}, {"fully-allocated", result.fully_allocated_bytes}};
  if (result.bitmaps_bytes) json["bitmaps"] = *result.bitmaps_bytes;
  print_json(json);
}

Result<Measurement> measure(const MeasureArguments& arguments, ops::OptionList list) {
  const std::string format = arguments.target_format.value_or("raw");
  if (personality().plain_results) (void)list.take("size");  // without effect there
  BYRE_TRY(MeasureTarget target, ops::parse_measure_options(format, std::move(list)));
  if (arguments.size_bytes && !arguments.exact) return measure_size(*arguments.size_bytes, target);
  return run_on_loop(measure_file(arguments, std::move(target)));
}

int run_measure(const MeasureArguments& arguments) {
  auto list = read_option_lists(arguments.options);
  if (!list) return report(std::unexpected(list.error()));
  if (list->asks_for_help()) return print_option_help(arguments.target_format.value_or("raw"), false);
  if (arguments.file.empty() != arguments.size_bytes.has_value()) {
    print_error(arguments.file.empty() ? "give either --size or an image" : "--size and an image exclude each other");
    return exit_failure;
  }
  if (arguments.size_bytes && (arguments.snapshot || arguments.open.format)) {
    print_error("-f and -l need an image");
    return exit_failure;
  }
  if (!arguments.exact && !exact_option(arguments).empty()) {
    print_error(fmt::format("{} needs --exact", exact_option(arguments)));
    return exit_failure;
  }
  if (arguments.snapshot && arguments.all_snapshots) {
    print_error("-l and --all-snapshots exclude each other");
    return exit_failure;
  }
  const auto result = measure(arguments, *std::move(list));
  if (!result) return report(std::unexpected(result.error()));
  print_measurement(*result, arguments.output);
  return exit_success;
}

}  // namespace

void register_measure(Cli& cli) {
  auto [parser, arguments] = cli.add<MeasureArguments>({"measure", "Tell how much space a new image would need",
                                                        "  byre measure -O qcow2 --size 100G\n"
                                                        "  byre measure -O qcow2 -o cluster_size=2M disk.raw\n"
                                                        "  byre measure -O qcow2 --exact disk.raw\n"},
                                                       run_measure);
  parser.add_option("file", arguments.file, "the image that would be copied");
  add_size(parser, "--size", arguments.size_bytes, "size of an empty disk, instead of an image");
  add_format(parser, arguments.target_format, "-O,--target-format", "format of the new image: raw (default) or qcow2");
  add_option_lists(parser, arguments.options);
  add_snapshot(parser, arguments.snapshot);
  parser.add_flag("--exact", arguments.exact,
                  "read the data, and tell to the byte what convert would make (required size)");
  parser.add_flag("-c,--compress", arguments.compress, "with --exact: with compressed clusters");
  parser.add_flag("--all-snapshots", arguments.all_snapshots, "with --exact: with the internal snapshots");
  parser.add_flag("--dedup", arguments.deduplicate, "with --exact: with equal clusters stored once");
  add_placement(parser, arguments.placement, "with --exact: compact (default) or stable");
  add_reflink(parser, arguments.reflink,
              "with --exact: what convert with this --reflink makes where blocks can be shared (default: never)");
  add_output(parser, arguments.output);
  add_events(parser);
  add_open_flags(parser, arguments.open);
}

}  // namespace byre::cli
