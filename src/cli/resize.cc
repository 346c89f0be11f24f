// byre resize: makes a disk longer or shorter (docs/format.md C-24).
#include "base/math.h"
#include "byre/data/disk.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/loop.h"
#include "cli/output.h"
#include "cli/personality.h"
#include "ops/create_options.h"

namespace byre::cli {

namespace {

struct ResizeArguments {
  std::string file;
  std::string size;
  OpenFlags open;  // the format alone
  Preallocation preallocation = Preallocation::off;
  bool shrink = false;
  bool quiet = false;
};

// "+1G" and "-1G" are relative to the size that the disk has.
Result<std::uint64_t> wanted_size(const std::string& text, std::uint64_t now) {
  const bool relative = text.starts_with('+') || text.starts_with('-');
  const auto number = parse_size(relative ? text.substr(1) : text);
  if (!number) {
    return fail(ErrorCode::invalid_argument,
                "invalid size '{}': a number with an optional suffix k, M, G, T, P or E is expected, perhaps with + or "
                "- before it",
                escape_untrusted(text));
  }
  const bool less = text.starts_with('-');
  const auto size = !relative ? number
                    : less    ? (*number < now ? std::optional(now - *number) : std::nullopt)
                              : checked_add(now, *number);
  if (size && *size > 0) return *size;
  return fail(ErrorCode::invalid_argument, "the new size must be positive: '{}' of {} bytes", escape_untrusted(text),
              now);
}

// How much of what lies behind `from` is stored in this image.
Task<Result<std::uint64_t>> stored_behind(Disk& disk, std::uint64_t from) {
  std::uint64_t stored = 0;
  for (std::uint64_t at = from; at < disk.size_bytes();) {
    BYRE_CO_TRY(const BlockStatus status, co_await disk.layer_status(at, disk.size_bytes() - at));
    if (status.data) stored += status.length_bytes;
    at += status.length_bytes;
  }
  co_return stored;
}

Task<Result<void>> refuse_shrinking(Disk& disk, std::uint64_t size) {
  BYRE_CO_TRY(const std::uint64_t stored, co_await stored_behind(disk, size));
  co_return fail(
      ErrorCode::refused,
      "everything behind {} of the {} bytes of the disk would be lost, {} bytes of stored data among it: use "
      "the --shrink option to perform a shrink operation",
      size, disk.size_bytes(), stored);
}

Task<Result<void>> resize(Disk& disk, const ResizeArguments& arguments) {
  BYRE_CO_TRY(const std::uint64_t size, wanted_size(arguments.size, disk.size_bytes()));
  if (size <= disk.size_bytes() && arguments.preallocation != Preallocation::off) {
    co_return fail(ErrorCode::invalid_argument, "preallocation can only be used for growing images");
  }
  if (size < disk.size_bytes() && !arguments.shrink) co_return co_await refuse_shrinking(disk, size);
  co_return co_await disk.resize(size, arguments.preallocation);
}

Task<Result<void>> resize_file(const ResizeArguments& arguments) {
  OpenOptions options;
  options.format = arguments.open.format;
  options.writable = true;
  options.probe_for_writing = personality().plain_results;
  options.log = stderr_log(arguments.quiet);
  BYRE_CO_TRY(const std::unique_ptr<Disk> disk,
              co_await open_image(arguments.file, arguments.open, std::move(options)));
  auto done = co_await resize(*disk, arguments);
  auto closed = co_await disk->close();
  if (!done) co_return std::unexpected(std::move(done).error().in_file(arguments.file));
  co_return closed;
}

int run_resize(const ResizeArguments& arguments) {
  if (arguments.size.empty()) {
    print_error("an image and a size are expected: byre resize disk.qcow2 +10G");
    return exit_failure;
  }
  const auto done = run_on_loop(resize_file(arguments));
  if (!done) return report(done);
  if (!arguments.quiet) print("Image resized.\n");
  return exit_success;
}

}  // namespace

void register_resize(Cli& cli) {
  CommandText text = {"resize", "Make a disk longer or shorter",
                      "  byre resize disk.qcow2 20G\n"
                      "  byre resize disk.qcow2 +5G\n"
                      "  byre resize --shrink disk.qcow2 -5G\n\n"
                      "The size comes last; +N and -N are relative. What is added reads as zeros.\n"};
  text.ends_in_size = true;
  auto [parser, arguments] = cli.add<ResizeArguments>(text, run_resize);
  parser.add_option("file", arguments.file, "the image").required();
  parser.add_option("--size", arguments.size, "").hidden();
  add_image_opts(parser, arguments.open.image_opts, add_format(parser, arguments.open.format));
  parser.add_flag("--shrink", arguments.shrink, "allow losing what lies behind the new end");
  const auto preallocate = [&arguments](const std::string& word) -> Result<> {
    const auto mode = ops::preallocation_named(word);
    if (!mode) {
      return fail(ErrorCode::invalid_argument, "--preallocation={}: must be off, metadata, falloc or full",
                  escape_untrusted(word));
    }
    arguments.preallocation = *mode;
    return {};
  };
  parser
      .add_option("--preallocation", preallocate,
                  "what becomes of added space: off (default), metadata, falloc or full")
      .type_name("MODE");
  add_quiet(parser, arguments.quiet);
  add_events(parser);
}

}  // namespace byre::cli
