// byre info: shows what an image says about itself (docs/format.md C-12 to C-14).
#include "byre/ops/info.h"

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/info_text.h"
#include "cli/loop.h"
#include "cli/personality.h"

namespace byre::cli {

namespace {

struct InfoArguments {
  std::string file;
  std::optional<std::string> format;
  bool image_opts = false;
  bool force_share = false;
  bool backing_chain = false;
  OutputFormat output = OutputFormat::human;
  BackingFlags backing;
};

Task<Result<std::vector<ImageInfo>>> gather(InfoArguments arguments) {
  InfoOptions options;
  options.format = arguments.format;
  options.force_share = arguments.force_share;
  options.count_clusters = arguments.output == OutputFormat::human && !personality().plain_results;
  options.backing = backing_policy(arguments.backing);
  BYRE_CO_TRY(NodeDescription node, image_named(arguments.file, arguments.image_opts));
  if (arguments.backing_chain) co_return co_await chain_info(std::move(node), options);
  BYRE_CO_TRY(ImageInfo info, co_await image_info(std::move(node), options));
  std::vector<ImageInfo> single;
  single.push_back(std::move(info));
  co_return single;
}

void print_as_json(const std::vector<ImageInfo>& chain, bool as_array) {
  if (!as_array) return print_json(info_to_json(chain.front()));
  Json all = Json::array();
  for (const ImageInfo& info : chain) all.push_back(info_to_json(info));
  print_json(all);
}

void print_as_text(const std::vector<ImageInfo>& chain) {
  for (const ImageInfo& info : chain) print((&info == &chain.front() ? "" : "\n") + info_to_text(info));
  if (chain.size() > 1 && !personality().plain_results) print("\n" + chain_to_text(chain));
}

int run_info(const InfoArguments& arguments) {
  const auto chain = run_on_loop(gather(arguments));
  if (!chain) return report(std::unexpected(chain.error()));
  if (arguments.output == OutputFormat::json) {
    print_as_json(*chain, arguments.backing_chain);
  } else {
    print_as_text(*chain);
  }
  return exit_success;
}

}  // namespace

void register_info(Cli& cli) {
  auto [parser, arguments] =
      cli.add<InfoArguments>({"info", "Show what an image says about itself, opening nothing else",
                              "  byre info disk.qcow2\n"
                              "  byre info --output=json disk.qcow2\n"
                              "  byre info --backing-chain --backing-dir /srv/images overlay.qcow2\n"},
                             run_info);
  parser.add_option("file", arguments.file, "the image").required();
  add_image_opts(parser, arguments.image_opts, add_format(parser, arguments.format));
  add_force_share(parser, arguments.force_share);
  add_output(parser, arguments.output);
  parser.add_flag("--backing-chain", arguments.backing_chain, "show the backing files as well, top first");
  add_backing(parser, arguments.backing);
}

}  // namespace byre::cli
