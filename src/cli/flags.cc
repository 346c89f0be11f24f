// The shared options. Each value is checked while the command line is parsed, so that nothing is opened before a typing
// mistake is found.
#include "cli/flags.h"

#include <unistd.h>

#include <algorithm>

#include "base/text.h"
#include "cli/events.h"
#include "cli/output.h"

namespace byre::cli {

namespace {

// "--count" for "-c,--count"; an operand has one name.
std::string long_name(const std::string& names) {
  const std::size_t at = names.find("--");
  return at == std::string::npos ? names : names.substr(at);
}

Result<std::uint64_t> read_size(const std::string& names, const std::string& text) {
  if (const auto size_bytes = parse_size(text)) return *size_bytes;
  return fail(ErrorCode::invalid_argument,
              "{}: invalid size '{}': a number with an optional suffix k, M, G, T, P or E is expected",
              long_name(names), escape_untrusted(text));
}

}  // namespace

Option add_format(Parser& parser, std::optional<std::string>& format, const std::string& names,
                  const std::string& description) {
  const auto parse = [&format, names](const std::string& text) -> Result<> {
    format = text;
    if (text == "qcow2" || text == "raw") return {};
    return fail(ErrorCode::invalid_argument, "{}: unknown format '{}': qcow2 and raw are supported", long_name(names),
                escape_untrusted(text));
  };
  return parser.add_option(names, parse, description).type_name("FORMAT");
}

Option add_size(Parser& parser, const std::string& names, std::optional<std::uint64_t>& size_bytes,
                const std::string& description) {
  const auto enter = [&size_bytes, names](const std::string& text) -> Result<> {
    BYRE_TRY(size_bytes, read_size(names, text));
    return {};
  };
  return parser.add_option(names, enter, description).type_name("SIZE");
}

Option add_size(Parser& parser, const std::string& names, std::uint64_t& size_bytes, const std::string& description) {
  const auto enter = [&size_bytes, names](const std::string& text) -> Result<> {
    BYRE_TRY(size_bytes, read_size(names, text));
    return {};
  };
  return parser.add_option(names, enter, description).type_name("SIZE");
}

Option add_cache_mode(Parser& parser, const std::string& names, CacheMode& mode, const std::string& description) {
  const auto parse = [&mode](const std::string& text) -> Result<> {
    const auto parsed = parse_cache_mode(text);
    if (!parsed) {
      return fail(ErrorCode::invalid_argument,
                  "unknown cache mode '{}': writeback, none, writethrough, directsync and unsafe are supported",
                  escape_untrusted(text));
    }
    mode = *parsed;
    return {};
  };
  return parser.add_option(names, parse, description).type_name("MODE");
}

Option add_aio(Parser& parser, IoMode& mode, const std::string& names) {
  const auto enter = [&mode](const std::string& word) -> Result<> {
    if (word != "threads" && word != "native" && word != "io_uring") {
      return fail(ErrorCode::invalid_argument, "--aio must be threads, native or io_uring, not '{}'",
                  escape_untrusted(word));
    }
    mode = word == "threads" ? IoMode::threads : IoMode::uring;
    return {};
  };
  return parser.add_option(names, enter, "threads, or the kernel's own: native and io_uring mean the same here")
      .type_name("AIO");
}

// A list: patterns of event names, files with such names, a file to write to.
Result<> take_trace(const std::string& list) {
  std::string_view left = list;
  while (!left.empty()) {
    const std::string item(left.substr(0, left.find(',')));
    left.remove_prefix(std::min(left.size(), item.size() + 1));
    if (item == "help" || item.starts_with("file=")) continue;
    if (item.starts_with("events=") && ::access(item.c_str() + 7, R_OK) != 0) {
      return fail(ErrorCode::not_found, "{}: cannot be read", escape_untrusted(item.substr(7)));
    }
    print_warning("warning: trace event '" + escape_untrusted(item) + "' does not exist: there are none here");
  }
  return {};
}

Option add_trace(Parser& parser) {
  return parser.add_option("-T,--trace", take_trace, "taken for other tools' sake: there are no trace events")
      .type_name("PATTERN");
}

Option add_force_share(Parser& parser, bool& force_share) {
  return parser.add_flag("-U,--force-share", force_share,
                         "read an image although another process may be writing it (what is read may be torn)");
}

Option add_quiet(Parser& parser, bool& quiet) {
  return parser.add_flag("-q,--quiet", quiet, "print nothing but errors");
}

Option add_progress(Parser& parser, bool& progress) {
  const auto choose = [&progress](const std::string& word) -> Result<> {
    if (!word.empty()) return open_events(word);
    progress = true;
    return {};
  };
  parser.add_flag("-p", progress, "report progress on standard output");
  return parser.add_flag("--progress", choose, "the same; --progress json:FD: as JSON lines on this open descriptor");
}

Option add_events(Parser& parser) {
  return parser.add_flag("--progress", open_events, "--progress json:FD: report as JSON lines on this open descriptor");
}

Option add_output(Parser& parser, OutputFormat& output) {
  const auto parse = [&output](const std::string& text) -> Result<> {
    if (text != "human" && text != "json") {
      return fail(ErrorCode::invalid_argument, "--output must be human or json, not '{}'", escape_untrusted(text));
    }
    output = text == "json" ? OutputFormat::json : OutputFormat::human;
    return {};
  };
  return parser.add_option("--output", parse, "human (default) or json").type_name("FORMAT");
}

Option add_reflink(Parser& parser, Reflink& reflink, const std::string& description) {
  const auto parse = [&reflink](const std::string& text) -> Result<> {
    if (text != "auto" && text != "always" && text != "never") {
      return fail(ErrorCode::invalid_argument, "--reflink must be auto, always or never, not '{}'",
                  escape_untrusted(text));
    }
    reflink = text == "auto" ? Reflink::automatic : text == "always" ? Reflink::always : Reflink::never;
    return {};
  };
  return parser.add_option("--reflink", parse, description).type_name("WHEN");
}

Option add_placement(Parser& parser, Placement& placement, const std::string& description) {
  const auto parse = [&placement](const std::string& text) -> Result<> {
    if (text != "compact" && text != "stable") {
      return fail(ErrorCode::invalid_argument, "--layout must be compact or stable, not '{}'", escape_untrusted(text));
    }
    placement = text == "stable" ? Placement::stable : Placement::compact;
    return {};
  };
  return parser.add_option("--layout", parse, description).type_name("KIND");
}

Option add_snapshot(Parser& parser, std::optional<std::string>& snapshot, const std::string& names,
                    const std::string& of) {
  return parser
      .add_option(names, snapshot, "read this internal snapshot" + of + " (also snapshot.id=ID, snapshot.name=NAME)")
      .type_name("ID_OR_NAME");
}

Result<> choose_snapshot(const std::optional<std::string>& text, OpenOptions& options) {
  options.snapshot = text;
  if (!text || !text->starts_with("snapshot.")) return {};
  const std::size_t equals = std::min(text->find('='), text->size());
  const std::string_view key = std::string_view(*text).substr(0, equals);
  if (equals == text->size() || (key != "snapshot.id" && key != "snapshot.name")) {
    return fail(ErrorCode::invalid_argument,
                "snapshot '{}': snapshot.id=ID, snapshot.name=NAME, an id or a name is expected",
                escape_untrusted(*text));
  }
  options.snapshot_key = key == "snapshot.id" ? SnapshotKey::id : SnapshotKey::name;
  options.snapshot = text->substr(equals + 1);
  return {};
}

Option add_option_lists(Parser& parser, std::vector<std::string>& texts) {
  return parser.add_option("-o,--options", texts, "key=value,... of the format; 'help' lists them (\",,\" is a comma)")
      .type_name("OPTIONS")
      .every_occurrence();
}

void add_backing(Parser& parser, BackingFlags& flags) {
  parser.add_flag("--no-backing", flags.no_backing, "open no backing file");
  parser.add_option("--backing-dir", flags.directory, "open backing files only below this directory").type_name("DIR");
  add_format(parser, flags.format, "--backing-format", "format of the backing file if the image records none");
}

void add_image_opts(Parser& parser, bool& image_opts, const Option& format, const std::string& names,
                    const std::string& what) {
  const Option option = parser.add_flag(
      names, image_opts, what + " a list: driver=qcow2,file.filename=FILE,... (docs/decisions/0023-image-options.md)");
  exclude_each_other({format, option});
}

Result<NodeDescription> image_named(const std::string& word, bool image_opts) {
  return image_opts ? NodeDescription::from_options(word) : NodeDescription::from_name(word);
}

Result<std::vector<NodeDescription>> images_named(const std::vector<std::string>& words, bool image_opts) {
  std::vector<NodeDescription> nodes;
  for (const std::string& word : words) {
    BYRE_TRY(NodeDescription node, image_named(word, image_opts));
    nodes.push_back(std::move(node));
  }
  return nodes;
}

Task<Result<std::unique_ptr<Disk>>> open_image(std::string word, const OpenFlags& flags, OpenOptions options) {
  BYRE_CO_TRY(NodeDescription node, image_named(word, flags.image_opts));
  co_return co_await open_node(std::move(node), std::move(options));
}

void add_open_flags(Parser& parser, OpenFlags& flags) {
  add_image_opts(parser, flags.image_opts, add_format(parser, flags.format));
  add_force_share(parser, flags.force_share);
  add_size(parser, "--cache-size", flags.cache_size_bytes, "memory for metadata (default: as needed, at most 32M)");
  add_backing(parser, flags.backing);
}

BackingPolicy backing_policy(const BackingFlags& flags) {
  BackingPolicy policy;
  policy.follow = !flags.no_backing;
  policy.below = flags.directory;
  policy.format = flags.format;
  return policy;
}

OpenOptions open_options(const OpenFlags& flags, bool quiet) {
  OpenOptions options;
  options.format = flags.format;
  options.force_share = flags.force_share;
  options.cache = flags.cache;
  options.cache_size_bytes = flags.cache_size_bytes.value_or(0);
  options.backing = backing_policy(flags.backing);
  options.log = stderr_log(quiet);
  return options;
}

Result<ops::OptionList> read_option_lists(const std::vector<std::string>& texts) {
  ops::OptionList all;
  for (const std::string& text : texts) BYRE_CHECK(all.add(text));
  return all;
}

}  // namespace byre::cli
