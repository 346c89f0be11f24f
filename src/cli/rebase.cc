// byre rebase: gives an image another backing file (docs/format.md C-25).
#include <filesystem>

#include "base/text.h"
#include "byre/ops/chain.h"
#include "cli/chain_flags.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "data/reference.h"

namespace byre::cli {

namespace {

struct RebaseArguments {
  ChainFlags chain;
  std::optional<std::string> backing;
  std::optional<std::string> backing_format;
  CacheMode source_cache = CacheMode::writeback;
  bool unsafe = false;
};

// A name without a format would have to be guessed by whoever opens the image later.
Result<void> check_names(const RebaseArguments& arguments) {
  if (!arguments.backing && arguments.unsafe) return {};  // none, as with the reference
  if (!arguments.backing) {
    return fail(ErrorCode::invalid_argument, "the new backing file must be named: -b FILE, or -b \"\" for none");
  }
  if (!arguments.backing->empty() && !arguments.backing_format) {
    return fail(ErrorCode::invalid_argument, "the backing format must be specified: -F qcow2 or -F raw");
  }
  BYRE_TRY(const NodeDescription top, image_named(arguments.chain.file, arguments.chain.open.image_opts));
  const std::string file = top.path().value_or(arguments.chain.file);
  const auto path = resolve_reference(file, *arguments.backing);
  std::error_code unknown;  // what is not there is reported when it is opened
  if (path && std::filesystem::equivalent(*path, file, unknown)) {
    return fail(ErrorCode::invalid_argument, "{}: the image cannot be its own backing file", escape_untrusted(file));
  }
  return {};
}

Task<Result<std::unique_ptr<Disk>>> open_new_backing(Disk& top, const RebaseArguments& arguments) {
  if (arguments.backing->empty()) co_return std::unique_ptr<Disk>();
  BYRE_CO_TRY(const std::string path, resolve_reference(top.storage().name(), *arguments.backing));
  OpenOptions options = open_options(arguments.chain.open, arguments.chain.quiet);
  options.format = arguments.backing_format;
  options.backing.format.reset();
  options.cache = arguments.source_cache;
  co_return co_await open_disk(path, std::move(options));
}

Task<Result<void>> rebase_opened(Disk& top, const RebaseArguments& arguments, ChainOptions options) {
  BYRE_CO_TRY(const std::unique_ptr<Disk> backing, co_await open_new_backing(top, arguments));
  if (backing) {
    for (Disk* layer = backing.get(); layer; layer = layer->backing()) {
      if (layer->storage().identity() != top.storage().identity()) continue;
      (void)co_await backing->close();
      co_return fail(ErrorCode::invalid_argument, "the image would be its own backing file");
    }
  }
  auto done = co_await rebase_disk(top, backing.get(), *arguments.backing, arguments.backing_format.value_or(""),
                                   std::move(options));
  if (backing) (void)co_await backing->close();  // was only read
  co_return done;
}

Task<Result<void>> rebase_file(const RebaseArguments& arguments, ChainOptions options) {
  OpenOptions open = arguments.chain.open_options_for_writing();
  if (arguments.unsafe) open.backing.follow = false;
  BYRE_CO_TRY(const std::unique_ptr<Disk> top,
              co_await open_image(arguments.chain.file, arguments.chain.open, std::move(open)));
  Result<void> done;
  if (arguments.unsafe) {
    done = co_await record_backing(*top, arguments.backing.value_or(""), arguments.backing_format);
  } else {
    done = co_await rebase_opened(*top, arguments, std::move(options));
  }
  auto closed = co_await top->close();
  co_return done ? closed : done;
}

int run_rebase(const RebaseArguments& arguments) {
  if (auto named = check_names(arguments); !named) return report(named);
  return run_chain_work(arguments.chain, "rebasing", {}, "",
                        [&arguments](ChainOptions all) { return rebase_file(arguments, std::move(all)); });
}

}  // namespace

void register_rebase(Cli& cli) {
  auto [parser, arguments] =
      cli.add<RebaseArguments>({"rebase", "Give an image another backing file",
                                "  byre rebase -b new-base.qcow2 -F qcow2 overlay.qcow2\n"
                                "  byre rebase -b \"\" overlay.qcow2              # onto nothing\n"
                                "  byre rebase -u -b renamed.qcow2 -F qcow2 overlay.qcow2\n\n"
                                "The disk reads the same afterwards: what differs below is copied first, "
                                "unless -u says that nothing does.\n"},
                               run_rebase);
  add_chain_flags(parser, arguments.chain, "the image");
  parser.add_option("-b,--backing", arguments.backing, "the new backing file, as the image will name it; \"\" for none")
      .type_name("FILE");
  parser.add_option("-F,--new-backing-format", arguments.backing_format, "its format: qcow2 or raw").type_name("FMT");
  parser.add_flag("-u,--unsafe", arguments.unsafe, "only record the name: the content is the same (renamed files)");
  add_cache_mode(parser, "-T,--source-cache", arguments.source_cache, "how the new backing file is read");
}

}  // namespace byre::cli
