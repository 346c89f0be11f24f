// byre create: makes a new image (docs/format.md C-23).
#include "byre/ops/create.h"

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/loop.h"
#include "cli/option_help.h"
#include "cli/output.h"
#include "cli/personality.h"
#include "ops/create_options.h"

namespace byre::cli {

namespace {

struct CreateArguments {
  std::string file;
  std::optional<std::uint64_t> size_bytes;
  std::string format = "raw";
  std::optional<std::string> format_flag;
  std::optional<std::string> backing_file;
  std::optional<std::string> backing_format;
  std::vector<std::string> options;
  bool unsafe = false;
  bool quiet = false;
};

std::string format_name(const CreateArguments& arguments) { return arguments.format_flag.value_or(arguments.format); }

// Flags of their own and the options of the same meaning may not contradict each other; with qemu-img the flag wins.
Result<> merge(const char* what, const std::optional<std::string>& flag, std::optional<std::string>& option) {
  if (!flag) return {};
  const bool contradicts = option && *option != *flag;
  if (contradicts && !personality().plain_results) {
    return fail(ErrorCode::invalid_argument, "the {} was given twice: '{}' and '{}'", what, escape_untrusted(*flag),
                escape_untrusted(*option));
  }
  option = flag;
  return {};
}

Result<CreateOptions> read_options(const CreateArguments& arguments, ops::OptionList list) {
  BYRE_TRY(CreateOptions options, ops::parse_create_options(format_name(arguments), std::move(list)));
  BYRE_CHECK(merge("backing file", arguments.backing_file, options.backing_file));
  BYRE_CHECK(merge("backing format", arguments.backing_format, options.backing_format));
  if (arguments.size_bytes && options.size_bytes) {
    return fail(ErrorCode::invalid_argument, "the size was given twice: behind the file name and with -o size=");
  }
  if (arguments.size_bytes) options.size_bytes = arguments.size_bytes;
  options.open_backing = !arguments.unsafe;
  return options;
}

// The size that it gets, or, where the line is qemu-img's, the one that was given.
void announce(const std::string& file, CreateOptions options, std::optional<std::uint64_t> given_bytes) {
  if (given_bytes && personality().plain_results) options.size_bytes = given_bytes;
  print(formatting_line(file, options) + "\n");
}

Task<Result<int>> create(CreateArguments arguments, CreateOptions options) {
  const std::optional<std::uint64_t> given_bytes = options.size_bytes;
  BYRE_CO_TRY(NodeDescription target, image_named(arguments.file, false));
  const std::string path = target.path().value_or(arguments.file);
  BYRE_CO_TRY(CreateOptions ready, co_await prepare_create(path, std::move(options)));
  if (!arguments.quiet) announce(arguments.file, ready, given_bytes);
  BYRE_CO_TRY(const std::unique_ptr<Storage> made,
              co_await create_image(std::move(target), std::move(ready), CacheMode::writeback));
  co_return exit_success;
}

int run_create(const CreateArguments& arguments) {
  auto list = read_option_lists(arguments.options);
  if (!list) return report(std::unexpected(list.error()));
  if (list->asks_for_help()) return print_option_help(format_name(arguments), !arguments.file.empty());
  if (arguments.file.empty()) {
    print_error("the name of the image is missing");
    return exit_failure;
  }
  auto options = read_options(arguments, *std::move(list));
  if (!options) return report(std::unexpected(std::move(options).error().in_file(arguments.file)));
  const Result<int> code = run_on_loop(create(arguments, *std::move(options)));
  return code ? *code : report(std::unexpected(code.error()));
}

}  // namespace

void register_create(Cli& cli) {
  auto [parser, arguments] =
      cli.add<CreateArguments>({"create", "Make a new image",
                                "  byre create -f qcow2 disk.qcow2 20G\n"
                                "  byre create -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2\n"
                                "  byre create -f qcow2 -o cluster_size=2M,preallocation=metadata disk.qcow2 1T\n"
                                "  byre create -f qcow2 -o help\n"},
                               run_create);
  parser.add_option("file", arguments.file, "the image to make; an existing file is overwritten");
  add_size(parser, "size", arguments.size_bytes, "size of the disk (default: that of the backing file)");
  add_format(parser, arguments.format_flag, "-f,--format", "format of the image: raw (default) or qcow2");
  parser.add_option("-b,--backing", arguments.backing_file, "backing file, relative to the image's directory")
      .type_name("FILE");
  parser.add_option("-F,--backing-format", arguments.backing_format, "format of the backing file").type_name("FORMAT");
  parser.add_flag("-u,--unsafe", arguments.unsafe, "store the name of the backing file without opening it");
  add_option_lists(parser, arguments.options);
  add_quiet(parser, arguments.quiet);
}

}  // namespace byre::cli
