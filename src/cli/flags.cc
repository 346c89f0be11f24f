// The shared options. Each value is checked while the command line is parsed, so that nothing is opened before a typing
// mistake is found.
#include "cli/flags.h"

#include <algorithm>

#include "base/text.h"
#include "cli/output.h"

namespace byre::cli {

CLI::Option* add_format(CLI::App& app, std::optional<std::string>& format, const std::string& names,
                        const std::string& description) {
  const auto check = [](const std::string& text) -> std::string {
    if (text == "qcow2" || text == "raw") return {};
    return fmt::format("unknown format '{}': qcow2 and raw are supported", escape_untrusted(text));
  };
  return app.add_option(names, format, description)->type_name("FORMAT")->check(CLI::Validator(check, ""));
}

CLI::Option* add_size(CLI::App& app, const std::string& names, std::optional<std::uint64_t>& size_bytes,
                      const std::string& description) {
  const auto parse = [&size_bytes](const std::string& text) {
    size_bytes = parse_size(text);
    if (size_bytes) return;
    throw CLI::ValidationError(fmt::format(
        "invalid size '{}': a number with an optional suffix k, M, G, T, P or E is expected", escape_untrusted(text)));
  };
  return app.add_option_function<std::string>(names, parse, description)->type_name("SIZE");
}

CLI::Option* add_cache_mode(CLI::App& app, const std::string& names, CacheMode& mode, const std::string& description) {
  const auto parse = [&mode](const std::string& text) {
    const auto parsed = parse_cache_mode(text);
    if (!parsed) {
      throw CLI::ValidationError(
          fmt::format("unknown cache mode '{}': writeback, none, writethrough, directsync and unsafe are supported",
                      escape_untrusted(text)));
    }
    mode = *parsed;
  };
  return app.add_option_function<std::string>(names, parse, description)->type_name("MODE");
}

CLI::Option* add_force_share(CLI::App& app, bool& force_share) {
  return app.add_flag("-U,--force-share", force_share,
                      "read an image although another process may be writing it (what is read may be torn)");
}

CLI::Option* add_quiet(CLI::App& app, bool& quiet) {
  return app.add_flag("-q,--quiet", quiet, "print nothing but errors");
}

CLI::Option* add_progress(CLI::App& app, bool& progress) {
  return app.add_flag("-p,--progress", progress, "report progress on standard output");
}

CLI::Option* add_output(CLI::App& app, OutputFormat& output) {
  const auto parse = [&output](const std::string& text) {
    if (text != "human" && text != "json") {
      throw CLI::ValidationError(fmt::format("--output must be human or json, not '{}'", escape_untrusted(text)));
    }
    output = text == "json" ? OutputFormat::json : OutputFormat::human;
  };
  return app.add_option_function<std::string>("--output", parse, "human (default) or json")->type_name("FORMAT");
}

CLI::Option* add_snapshot(CLI::App& app, std::optional<std::string>& snapshot, const std::string& names,
                          const std::string& of) {
  return app
      .add_option(names, snapshot, "read this internal snapshot" + of + " (also snapshot.id=ID, snapshot.name=NAME)")
      ->type_name("ID_OR_NAME");
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

CLI::Option* add_option_lists(CLI::App& app, std::vector<std::string>& texts) {
  return app.add_option("-o,--options", texts, "key=value,... of the format; 'help' lists them (\",,\" is a comma)")
      ->type_name("OPTIONS")
      ->take_all()
      ->allow_extra_args(false);
}

void add_backing(CLI::App& app, BackingFlags& flags) {
  app.add_flag("--no-backing", flags.no_backing, "open no backing file");
  app.add_option("--backing-dir", flags.directory, "open backing files only below this directory")->type_name("DIR");
  add_format(app, flags.format, "--backing-format", "format of the backing file if the image records none");
}

void add_open_flags(CLI::App& app, OpenFlags& flags) {
  add_format(app, flags.format);
  add_force_share(app, flags.force_share);
  add_size(app, "--cache-size", flags.cache_size_bytes, "memory for metadata (default: as needed, at most 32M)");
  add_backing(app, flags.backing);
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
