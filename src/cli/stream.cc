// byre stream: copies into an image what it needs from layers below it, so that they can go.
#include "base/text.h"
#include "byre/ops/chain.h"
#include "cli/chain_flags.h"
#include "cli/commands.h"

namespace byre::cli {

namespace {

struct StreamArguments {
  ChainFlags chain;
  std::optional<std::string> base;
  std::optional<std::uint64_t> rate;
};

Task<Result<void>> stream(Disk& top, const StreamArguments& arguments, ChainOptions options) {
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

Task<Result<void>> stream_file(const StreamArguments& arguments, ChainOptions options) {
  OpenOptions open = arguments.chain.open_options_for_writing();
  BYRE_CO_TRY(const std::unique_ptr<Disk> top,
              co_await open_image(arguments.chain.file, arguments.chain.open, std::move(open)));
  auto done = co_await stream(*top, arguments, std::move(options));
  auto closed = co_await top->close();
  if (!done) co_return std::unexpected(std::move(done).error().in_file(arguments.chain.file));
  co_return closed;
}

int run_stream(const StreamArguments& arguments) {
  ChainOptions options;
  options.bytes_per_second = arguments.rate.value_or(0);
  return run_chain_work(arguments.chain, "streaming", std::move(options), "",
                        [&arguments](ChainOptions all) { return stream_file(arguments, std::move(all)); });
}

}  // namespace

void register_stream(Cli& cli) {
  auto [parser, arguments] =
      cli.add<StreamArguments>({"stream", "Copy what an image needs from layers below it into it",
                                "  byre stream overlay.qcow2                   # no backing file any more\n"
                                "  byre stream -b base.qcow2 top.qcow2         # without those in between\n\n"
                                "In place; what reads as zeros stays unstored. May be interrupted and run "
                                "again.\n"},
                               run_stream);
  add_chain_flags(parser, arguments.chain, "the image to stream into");
  parser.add_option("-b,--base", arguments.base, "the layer that stays its backing file (default: none)")
      .type_name("FILE");
  add_size(parser, "-r,--rate-limit", arguments.rate, "copy at most so many bytes a second");
}

}  // namespace byre::cli
