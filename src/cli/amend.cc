// byre amend: changes options of an image in place (docs/format.md section 19).
#include "byre/ops/amend.h"

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/loop.h"
#include "cli/output.h"
#include "cli/progress.h"

namespace byre::cli {

namespace {

struct AmendArguments {
  std::string file;
  std::vector<std::string> options;
  bool force = false;
  bool quiet = false;
  bool progress = false;
  OpenFlags open;
};

constexpr std::string_view help_text =
    "Amend options for 'qcow2':\n"
    "  backing_file=<str>     - must be what the image names: see rebase\n"
    "  backing_fmt=<str>      - must be what the image names: see rebase\n"
    "  compat=<str>           - Compatibility level (v2 [0.10] or v3 [1.1])\n"
    "  lazy_refcounts=<bool (on/off)> - Postpone refcount updates\n"
    "  refcount_bits=<num>    - Width of a reference count entry in bits\n"
    "  size=<size>            - Virtual disk size\n";

Result<std::optional<unsigned>> take_version(ops::OptionList& list) {
  const auto compat = list.take("compat");
  if (!compat) return std::nullopt;
  if (*compat == "0.10" || *compat == "v2") return 2;
  if (*compat == "1.1" || *compat == "v3") return 3;
  return fail(ErrorCode::invalid_argument, "compat={}: must be 0.10 (v2) or 1.1 (v3)", escape_untrusted(*compat));
}

Result<void> refuse_others(ops::OptionList& list) {
  for (const std::string_view key : {"cluster_size", "preallocation", "extended_l2", "compression_type", "encryption",
                                     "encrypt.format", "nocow", "extent_size_hint"}) {
    if (list.take(key))
      return fail(ErrorCode::invalid_argument, "option {} can only be chosen when an image is made", key);
  }
  for (const std::string_view key : {"data_file", "data_file_raw", "encrypt.state", "encrypt.keyslot",
                                     "encrypt.new-secret", "encrypt.old-secret", "encrypt.iter-time"}) {
    if (list.take(key)) return fail(ErrorCode::unsupported, "option {} is not supported yet", key);
  }
  return list.expect_empty("qcow2");
}

Result<AmendOptions> parse(ops::OptionList list) {
  AmendOptions options;
  BYRE_TRY(options.version, take_version(list));
  BYRE_TRY(const auto bits, list.take_number("refcount_bits"));
  if (bits) options.refcount_bits = static_cast<unsigned>(std::min<std::uint64_t>(*bits, 1000));
  BYRE_TRY(options.lazy_refcounts, list.take_bool("lazy_refcounts"));
  BYRE_TRY(options.size_bytes, list.take_size("size"));
  options.backing_file = list.take("backing_file");
  options.backing_format = list.take("backing_fmt");
  BYRE_CHECK(refuse_others(list));
  return options;
}

Task<Result<void>> amend_file(const AmendArguments& arguments, AmendOptions options) {
  OpenOptions open = open_options(arguments.open, arguments.quiet);
  open.writable = true;
  BYRE_CO_TRY(const std::unique_ptr<Disk> disk, co_await open_image(arguments.file, arguments.open, std::move(open)));
  auto done = co_await amend_disk(*disk, std::move(options));
  auto closed = co_await disk->close();
  co_return done ? closed : done;
}

int run_amend(const AmendArguments& arguments) {
  if (arguments.options.empty()) {
    print_error("options must be given: -o compat=1.1,lazy_refcounts=on, for instance; -o help lists them");
    return exit_failure;
  }
  auto list = read_option_lists(arguments.options);
  if (!list) return report(std::unexpected(list.error()));
  if (list->asks_for_help()) {
    if (arguments.open.format == "raw") {
      print_error("raw images have no options to amend");
      return exit_failure;
    }
    print(help_text);
    return exit_success;
  }
  if (arguments.file.empty()) {
    print_error("the image is missing");
    return exit_failure;
  }
  auto options = parse(*std::move(list));
  if (!options) return report(std::unexpected(options.error()));
  Progress progress(arguments.progress, arguments.quiet, "amending");
  options->progress = [&progress](std::uint64_t done, std::uint64_t total) { progress.update(done, total); };
  const auto done = run_on_loop(amend_file(arguments, *std::move(options)));
  if (!done) return report(done);
  progress.finish();
  return exit_success;
}

}  // namespace

void register_amend(Cli& cli) {
  auto [parser, arguments] = cli.add<AmendArguments>({"amend", "Change options of an image in place",
                                                      "  byre amend -o compat=1.1,lazy_refcounts=on disk.qcow2\n"
                                                      "  byre amend -o refcount_bits=64 disk.qcow2\n"
                                                      "  byre amend -o help\n"},
                                                     run_amend);
  parser.add_option("file", arguments.file, "the image");
  add_option_lists(parser, arguments.options);
  parser.add_flag("--force", arguments.force, "accepted: nothing here needs it");
  add_cache_mode(parser, "-t,--cache", arguments.open.cache, "how the image is written");
  add_quiet(parser, arguments.quiet);
  add_progress(parser, arguments.progress);
  add_open_flags(parser, arguments.open);
}

}  // namespace byre::cli
