// byre commit: moves what an overlay holds into a layer below it (docs/format.md C-25).
#include "byre/ops/chain.h"
#include "cli/chain_flags.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/personality.h"

namespace byre::cli {

namespace {

struct CommitArguments {
  ChainFlags chain;
  std::optional<std::string> base;
  std::optional<std::uint64_t> rate;
  bool keep = false;
};

Task<Result<void>> commit(const CommitArguments& arguments, ChainOptions options) {
  OpenOptions open = open_options(arguments.chain.open, arguments.chain.quiet);
  const bool keep = arguments.keep || (arguments.base && personality().plain_results);  // -b implies -d there
  BYRE_CO_TRY(NodeDescription top, image_named(arguments.chain.file, arguments.chain.open.image_opts));
  BYRE_CO_TRY(CommitChain chain, co_await open_commit_chain(std::move(top), std::move(open), arguments.base, keep));
  auto done = co_await commit_disk(chain, std::move(options));
  auto closed = co_await chain.top->close();
  if (!done) co_return std::unexpected(std::move(done).error().in_file(arguments.chain.file));
  co_return closed;
}

int run_commit(const CommitArguments& arguments) {
  ChainOptions options;
  options.bytes_per_second = arguments.rate.value_or(0);
  return run_chain_work(arguments.chain, "committing", std::move(options), "Image committed.\n",
                        [&arguments](ChainOptions all) { return commit(arguments, std::move(all)); });
}

}  // namespace

void register_commit(Cli& cli) {
  auto [parser, arguments] =
      cli.add<CommitArguments>({"commit", "Move what an overlay holds into a layer below it",
                                "  byre commit overlay.qcow2\n"
                                "  byre commit -d -b base.qcow2 top.qcow2\n\n"
                                "May be interrupted and run again. Layers between the image and the base "
                                "cannot be used afterwards.\n"},
                               run_commit);
  add_chain_flags(parser, arguments.chain, "the image whose changes are committed");
  parser.add_option("-b,--base", arguments.base, "commit into this layer of the chain (default: the backing file)")
      .type_name("FILE");
  parser.add_flag("-d,--drop", arguments.keep,
                  "leave the image as it is instead of emptying it: it is not used any more");
  add_size(parser, "-r,--rate-limit", arguments.rate, "copy at most so many bytes a second");
}

}  // namespace byre::cli
