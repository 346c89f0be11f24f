// byre convert: copies images into a new image of any format (docs/format.md C-26).
#include "byre/ops/convert.h"

#include <unistd.h>

#include <algorithm>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/loop.h"
#include "cli/option_help.h"
#include "cli/output.h"
#include "cli/personality.h"
#include "cli/progress.h"
#include "ops/create_options.h"

namespace byre::cli {

namespace {

struct ConvertArguments {
  std::vector<std::string> files;
  OpenFlags source;
  std::string target_format = "raw";
  std::optional<std::string> target_format_flag;
  CacheMode target_cache = CacheMode::unsafe;
  std::vector<std::string> options;
  std::optional<std::string> backing_file;
  std::optional<std::string> backing_format;
  std::optional<std::string> snapshot;
  std::optional<std::uint64_t> sparse_bytes;
  std::optional<std::uint64_t> rate;
  Reflink reflink = Reflink::automatic;
  unsigned parallel_requests = 16;
  bool target_image_opts = false;
  bool out_of_order = false;
  bool compress = false;
  bool offload = false;
  std::optional<unsigned> compression_level;
  bool keep_target = false;
  bool target_is_zero = false;
  bool all_snapshots = false;
  bool resume = false;
  bool deduplicate = false;
  Placement placement = Placement::compact;
  bool progress = false;
  bool quiet = false;
};

std::string format_name(const ConvertArguments& arguments) {
  return arguments.target_format_flag.value_or(arguments.target_format);
}

Result<CreateOptions> target_options(const ConvertArguments& arguments, ops::OptionList list) {
  if (arguments.keep_target && !list.empty()) {
    return fail(ErrorCode::invalid_argument, "-o has no effect on a target that is not created (-n)");
  }
  if (personality().plain_results) (void)list.take("size");  // without effect there
  if (list.contains("size")) {
    return fail(ErrorCode::invalid_argument, "-o size: the size of the target is that of the sources");
  }
  BYRE_TRY(CreateOptions options, ops::parse_create_options(format_name(arguments), std::move(list)));
  if (arguments.backing_file) options.backing_file = arguments.backing_file;
  if (arguments.backing_format) options.backing_format = arguments.backing_format;
  return options;
}

Result<int> compression_level(const ConvertArguments& arguments) {
  if (!arguments.compression_level) return 0;
  const unsigned level = *arguments.compression_level;
  if (!arguments.compress) {
    return fail(ErrorCode::invalid_argument, "--compression-level {} has no effect without -c", level);
  }
  if (level < 1 || level > most_compression_level) {
    return fail(ErrorCode::invalid_argument, "--compression-level {}: must be 1, the fastest, to {}, the smallest",
                level, most_compression_level);
  }
  return static_cast<int>(level);
}

// A length for runs of zeros means that all is to be looked through.
Result<Reflink> reflink_mode(const ConvertArguments& arguments) {
  if (arguments.offload && (arguments.compress || arguments.sparse_bytes)) {
    return fail(ErrorCode::invalid_argument, "-C copies what it does not read: it does not go with -c or -S");
  }
  if (!arguments.sparse_bytes) return arguments.reflink;
  if (arguments.reflink != Reflink::always) return Reflink::never;
  return fail(ErrorCode::invalid_argument, "--reflink always and -S do not go together: what is shared is not read");
}

Result<ConvertOptions> read_options(const ConvertArguments& arguments, ops::OptionList list) {
  ConvertOptions options;
  options.source = open_options(arguments.source, arguments.quiet);
  BYRE_CHECK(choose_snapshot(arguments.snapshot, options.source));
  BYRE_TRY(options.target, target_options(arguments, std::move(list)));
  options.create = !arguments.keep_target;
  options.target_reads_zero = arguments.target_is_zero;
  options.target_cache = arguments.target_cache;
  options.all_snapshots = arguments.all_snapshots;
  options.resume = arguments.resume;
  options.deduplicate = arguments.deduplicate;
  options.placement = arguments.placement;
  options.copy.parallel_requests = arguments.parallel_requests;
  options.copy.sparse_bytes = arguments.sparse_bytes.value_or(options.copy.sparse_bytes);
  options.copy.compress = arguments.compress;
  BYRE_TRY(options.copy.compression_level, compression_level(arguments));
  options.copy.out_of_order = arguments.out_of_order;
  options.search_zeros = arguments.sparse_bytes.value_or(0) != 0;
  options.copy.bytes_per_second = arguments.rate.value_or(0);
  BYRE_TRY(options.copy.reflink, reflink_mode(arguments));
  return options;
}

Task<Result<int>> convert(std::vector<NodeDescription> sources, NodeDescription target, ConvertOptions options) {
  BYRE_CO_CHECK(co_await convert_images(std::move(sources), std::move(target), std::move(options)));
  co_return exit_success;
}

// The streams that "-" stands for.
Result<void> open_streams(const ConvertArguments& arguments, ConvertOptions& options) {
  const auto sources_end = arguments.files.end() - 1;
  const bool from_stream = std::find(arguments.files.begin(), sources_end, "-") != sources_end;
  if (from_stream) options.source_pipe = std::make_shared<PipeReader>(STDIN_FILENO, "standard input", &interrupted());
  if (*sources_end != "-") return {};
  BYRE_CHECK(check_standard_output_takes_data(arguments.progress));
  options.target_pipe = std::make_shared<PipeWriter>(STDOUT_FILENO, "standard output", &interrupted());
  return {};
}

Result<NodeDescription> target_named(const ConvertArguments& arguments) {
  if (arguments.target_image_opts && !arguments.keep_target) {
    return fail(ErrorCode::invalid_argument, "--target-image-opts is for a target that is there: it needs -n");
  }
  return image_named(arguments.files.back(), arguments.target_image_opts);
}

// As -O says, else as the target is described.
std::optional<std::string> described_format(const NodeDescription& target, const ConvertArguments& arguments) {
  const auto driver = target.options().find("driver");
  if (arguments.target_format_flag || driver == target.options().end()) return arguments.target_format_flag;
  const auto* const name = std::get_if<std::string>(&driver->second);
  return name && (*name == "qcow2" || *name == "raw") ? std::optional(*name) : std::nullopt;
}

int run_convert(const ConvertArguments& given) {
  ConvertArguments arguments = given;
  auto list = read_option_lists(arguments.options);
  if (!list) return report(std::unexpected(list.error()));
  if (list->asks_for_help()) return print_option_help(format_name(arguments), arguments.files.size() > 1);
  if (arguments.files.size() < 2) {
    print_error("the names of a source and of the target are needed");
    return exit_failure;
  }
  std::vector<std::string> words = arguments.files;
  const std::string target = words.back();
  words.pop_back();
  auto sources = images_named(words, arguments.source.image_opts);
  if (!sources) return report(std::unexpected(sources.error()));
  auto target_node = target_named(arguments);
  if (!target_node) return report(std::unexpected(target_node.error()));
  arguments.target_format_flag = described_format(*target_node, arguments);
  auto options = read_options(arguments, *std::move(list));
  if (!options) return report(std::unexpected(std::move(options).error().in_file(target)));
  if (const auto opened = open_streams(arguments, *options); !opened) return report(opened);
  Progress progress(arguments.progress, arguments.quiet, "converting");
  options->copy.progress = [&](std::uint64_t done_bytes, std::uint64_t total_bytes) {
    progress.update(done_bytes, total_bytes);
  };
  catch_interrupts();
  options->copy.cancel = &interrupted();
  const Result<int> code = run_on_loop(convert(*std::move(sources), *std::move(target_node), *std::move(options)));
  if (!code) return report(std::unexpected(code.error()));
  progress.finish();
  return *code;
}

void add_target_options(Parser& parser, ConvertArguments& arguments) {
  add_format(parser, arguments.target_format_flag, "-O,--target-format",
             "format of the target: raw (default) or qcow2");
  parser.add_flag("--target-image-opts", arguments.target_image_opts,
                  "with -n: the target is a list: driver=qcow2,file.filename=FILE,...");
  add_option_lists(parser, arguments.options);
  parser
      .add_option("-B,-b,--backing", arguments.backing_file,
                  "backing file of the target, relative to its directory: only what differs from it is written")
      .type_name("FILE");
  add_format(parser, arguments.backing_format, "-F,--target-backing-format", "format of that backing file");
  parser.add_flag("-n,--no-create", arguments.keep_target, "the target exists: keep it, replace its content");
  parser.add_flag("--target-is-zero", arguments.target_is_zero,
                  "with -n: the target reads as zeros, so leave zeros out");
  parser.add_flag("--resume", arguments.resume,
                  "go on with what an interrupted run has left in TARGET.partial, and leave it there when interrupted");
  parser.add_flag("--dedup", arguments.deduplicate,
                  "with -c: store clusters with equal content once, in a new qcow2 target");
  add_placement(parser, arguments.placement,
                "compact (default), or stable: the place of each cluster follows from its guest offset, so that two "
                "versions of an image share their chunks in a deduplicating store");
  add_cache_mode(parser, "-t,--target-cache", arguments.target_cache,
                 "cache mode of the target (default: unsafe, which does not wait for the disk at the end)");
}

void add_copy_options(Parser& parser, ConvertArguments& arguments) {
  parser.add_flag("-c,--compress", arguments.compress, "store compressed clusters");
  parser
      .add_option("--compression-level", arguments.compression_level,
                  "with -c: 1, the fastest, to 9, the smallest (default: 2; zstd: 3)")
      .type_name("LEVEL");
  add_size(parser, "-S,--sparse-size", arguments.sparse_bytes,
           "leave out runs of zeros of this length (default: 4k); 0 stores everything");
  // What can be shared is shared anyway: this one only has rules.
  parser.add_flag("--copy-offloading", arguments.offload, "").hidden();
  add_reflink(parser, arguments.reflink,
              "share blocks with the source (XFS, btrfs), zeros in them included: auto (default; not with -S), always, "
              "never");
  parser.add_option("-m,--parallel", arguments.parallel_requests, "requests in flight, 1 to 16 (default: 16)")
      .type_name("COUNT");
  add_size(parser, "-r,--rate-limit", arguments.rate, "copy at most so many bytes a second");
  parser.add_flag("-W,--out-of-order", arguments.out_of_order, "write out of order: another layout, the same content");
  add_progress(parser, arguments.progress);
  add_quiet(parser, arguments.quiet);
}

}  // namespace

void register_convert(Cli& cli) {
  auto [parser, arguments] = cli.add<ConvertArguments>(
      {"convert", "Copy images into a new image",
       "  byre convert -f raw -O qcow2 disk.img disk.qcow2\n"
       "  byre convert -c -O qcow2 -o compression_type=zstd vm.qcow2 small.qcow2\n"
       "  byre convert -O qcow2 -l before-upgrade vm.qcow2 old.qcow2\n"
       "  byre convert -O qcow2 --all-snapshots -c vm.qcow2 archive.qcow2\n"
       "  byre convert -O qcow2 -c --dedup builds.raw builds.qcow2\n"
       "  byre convert -O qcow2 --layout stable vm.qcow2 backup.qcow2\n"
       "  byre convert -O qcow2 -B base.qcow2 -F qcow2 vm.qcow2 overlay.qcow2\n"
       "  byre convert -O qcow2 vm.qcow2 - | ssh host byre convert -O qcow2 - vm.qcow2\n"
       "\n"
       "The target is made as TARGET.partial and renamed when it is complete; until then an old target\n"
       "stays as it was, and needs its space. Written in place: devices, files with hard links, of other\n"
       "users or in a directory that takes no file, and with -n. --resume saves writing, not reading:\n"
       "everything is read (with -c also compressed) again and compared with what is there.\n"
       "\n"
       "Compression levels of deflate beside what qemu-img makes, on programs and documents:\n"
       "  1, 2   12 times as fast for each processor, 10 % larger\n"
       "  3      twice as fast, 2 % larger\n"
       "  4      1.8 times as fast, 0.4 % larger\n"
       "  5, 6   1.5 times as fast, as small\n"
       "  7      1.4 times as fast, 0.5 % smaller\n"
       "  8, 9   1.3 times as fast, 0.8 % smaller\n"
       "\n"
       "- is a stream: standard input as the only source, standard output as the target. A qcow2 image that is\n"
       "written as a stream has its tables in front, and stores each cluster that has any data; with -c or -S the\n"
       "sources are read twice (-c: twice the compressor's work). One that is read from a stream needs its tables\n"
       "in front of what they map and its data in order, as it then has; a raw one may have any length. The file\n"
       "of that name is ./-\n"},
      run_convert);
  parser.add_option("files", arguments.files, "the sources, concatenated, and the target; - is a stream");
  add_open_flags(parser, arguments.source);
  add_cache_mode(parser, "-T,--source-cache", arguments.source.cache, "cache mode of the sources (default: writeback)");
  add_snapshot(parser, arguments.snapshot);
  parser.add_flag("--all-snapshots", arguments.all_snapshots,
                  "copy the internal snapshots too, sharing what they share");
  add_target_options(parser, arguments);
  add_copy_options(parser, arguments);
}

}  // namespace byre::cli
