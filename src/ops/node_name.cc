// Names of a command line. What begins like one of the forms that are known here is one, and must go on like it; any
// other name is a path, colons or not.
#include <algorithm>
#include <array>
#include <cctype>

#include "base/text.h"
#include "byre/ops/node.h"

namespace byre {

namespace {

using Options = NodeDescription::Options;

constexpr std::string_view default_nbd_port = "10809";
constexpr std::ptrdiff_t most_dots = 32;
constexpr std::size_t longest_name_bytes = 16 << 10;  // of one that has others inside it

std::unexpected<Error> bad_name(std::string_view name, std::string_view expected) {
  return fail(ErrorCode::invalid_argument, "'{}': {} is expected", escape_untrusted(name, 4096), expected);
}

// Cuts `text` at the first `mark`, which goes too. Tells whether it was there.
std::pair<std::string_view, bool> cut(std::string_view& text, std::string_view mark) {
  const std::size_t at = text.find(mark);
  const std::string_view head = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + mark.size());
  return {head, at != std::string_view::npos};
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const int lower = std::tolower(static_cast<unsigned char>(c));
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// Nothing for a '%' without two hexadecimal digits.
std::optional<std::string> percent_decoded(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      result += text[i];
      continue;
    }
    if (i + 2 >= text.size() || hex_digit(text[i + 1]) < 0 || hex_digit(text[i + 2]) < 0) return std::nullopt;
    result += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
    i += 2;
  }
  return result;
}

void set_server(Options& options, std::string_view host, std::string_view port) {
  options["file.driver"] = "nbd";
  options["file.server.type"] = "inet";
  options["file.server.host"] = std::string(host);
  options["file.server.port"] = std::string(port);
}

void set_socket(Options& options, std::string_view path) {
  options["file.driver"] = "nbd";
  options["file.server.type"] = "unix";
  options["file.server.path"] = std::string(path);
}

// "HOST:PORT", with an IPv6 address in brackets. Nothing: no host, or no port where there is none by default.
std::optional<std::pair<std::string_view, std::string_view>> host_and_port(std::string_view text, bool port_needed) {
  const std::size_t bracket = text.starts_with('[') ? text.find(']') : 0;
  if (bracket == std::string_view::npos) return std::nullopt;
  const std::size_t colon = text.find(':', bracket);
  std::string_view host = text.substr(0, colon);
  if (bracket != 0) host = text.substr(1, bracket - 1);
  if (bracket != 0 && bracket + 1 != std::min(colon, text.size())) return std::nullopt;
  const std::string_view port = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  if (host.empty() || (port.empty() && (port_needed || colon != std::string_view::npos))) return std::nullopt;
  return std::pair(host, port.empty() ? default_nbd_port : port);
}

// "nbd:HOST:PORT", "nbd:unix:PATH", and ":exportname=NAME" behind either.
Result<Options> read_nbd_name(std::string_view name) {
  std::string_view rest = name.substr(std::string_view("nbd:").size());
  const std::string_view address = cut(rest, ":exportname=").first;
  Options options;
  if (!rest.empty()) options["file.export"] = std::string(rest);
  if (address.starts_with("unix:")) {
    const std::string_view path = address.substr(5);
    if (path.empty()) return bad_name(name, "nbd:unix:PATH[:exportname=NAME]");
    set_socket(options, path);
    return options;
  }
  const auto server = host_and_port(address, true);
  if (!server) return bad_name(name, "nbd:HOST:PORT[:exportname=NAME]");
  set_server(options, server->first, server->second);
  return options;
}

// "nbd://HOST[:PORT][/NAME]", "nbd+unix:///NAME?socket=PATH".
Result<Options> read_nbd_url(std::string_view name) {
  constexpr std::string_view form = "nbd://HOST[:PORT][/NAME] or nbd+unix:///[NAME]?socket=PATH";
  std::string_view rest = name;
  const bool local = cut(rest, "://").first == "nbd+unix";
  std::string_view query = rest;
  rest = cut(query, "?").first;
  std::string_view path = rest;
  const std::string_view authority = cut(path, "/").first;
  const auto exported = percent_decoded(path);
  if (!exported) return bad_name(name, form);
  Options options;
  if (!exported->empty()) options["file.export"] = *exported;
  if (local) {
    const auto socket = percent_decoded(query.starts_with("socket=") ? query.substr(7) : "");
    const bool simple = query.find('&') == std::string_view::npos;
    if (!authority.empty() || !simple || !socket || socket->empty()) return bad_name(name, form);
    set_socket(options, *socket);
    return options;
  }
  const auto server = host_and_port(authority, false);
  const bool user = authority.find('@') != std::string_view::npos;
  if (!server || user || !query.empty()) return bad_name(name, form);
  set_server(options, server->first, server->second);
  return options;
}

Result<Options> read_null_name(std::string_view name) {
  const std::string_view driver = name.substr(0, name.find(':'));
  if (name.substr(driver.size()) != "://") return bad_name(name, fmt::format("{}:// with nothing behind it", driver));
  return Options{{"file.driver", std::string(driver)}};
}

// Errors: the names stand in each other too deep.
Result<> add_below(Options& options, const std::string& prefix, const Options& child) {
  for (const auto& [key, value] : child) {
    if (std::ranges::count(key, '.') > most_dots) {
      return fail(ErrorCode::invalid_argument, "more than {} levels of names stand in each other", most_dots);
    }
    options[prefix + key] = value;
  }
  return {};
}

// What a name describes, but without the format that a name leaves open.
Options protocol_of(const NodeDescription& node) {
  constexpr std::string_view prefix = "file.";
  const bool named = !node.options().contains("driver");
  if (!named) return node.options();
  Options result;
  for (const auto& [key, value] : node.options()) {
    if (key.starts_with(prefix)) result[key.substr(prefix.size())] = value;
  }
  return result;
}

Result<Options> read_blkdebug_name(std::string_view name) {
  std::string_view rest = name.substr(std::string_view("blkdebug:").size());
  const auto [config, more] = cut(rest, ":");
  if (!more || rest.empty()) return bad_name(name, "blkdebug:[CONFIG]:IMAGE");
  Options options{{"file.driver", "blkdebug"}};
  if (!config.empty()) options["file.config"] = std::string(config);
  BYRE_TRY(const NodeDescription image, NodeDescription::from_name(rest));
  BYRE_CHECK(add_below(options, "file.image.", protocol_of(image)));
  return options;
}

Result<Options> read_blkverify_name(std::string_view name) {
  std::string_view rest = name.substr(std::string_view("blkverify:").size());
  const auto [raw, more] = cut(rest, ":");
  if (!more || raw.empty() || rest.empty()) return bad_name(name, "blkverify:RAW:IMAGE");
  Options options{{"file.driver", "blkverify"}, {"file.raw.driver", "file"}, {"file.raw.filename", std::string(raw)}};
  BYRE_TRY(const NodeDescription test, NodeDescription::from_name(rest));
  BYRE_CHECK(add_below(options, "file.test.", test.options()));
  return options;
}

struct Form {
  std::string_view begin;
  Result<Options> (*read)(std::string_view name);
};
constexpr std::array forms = {
    Form{"nbd://", read_nbd_url},          Form{"nbd+tcp://", read_nbd_url},        Form{"nbd+unix://", read_nbd_url},
    Form{"nbd:", read_nbd_name},           Form{"null-co:", read_null_name},        Form{"null-aio:", read_null_name},
    Form{"blkdebug:", read_blkdebug_name}, Form{"blkverify:", read_blkverify_name},
};

// Not here, and not to be taken for a path that is not there.
constexpr std::array<std::string_view, 22> other_protocols = {
    "http://",      "https://",     "ftp://", "ftps://", "ssh://",    "ssh:",    "sftp://",      "iscsi://",
    "nfs://",       "gluster://",   "rbd:",   "fat:",    "nbds://",   "nvme://", "nbds+unix://", "gluster+unix://",
    "gluster+tcp:", "gluster+rdma", "vxhs:",  "fd:",     "sheepdog:", "quorum:",
};

}  // namespace

NodeDescription::NodeDescription(std::string path) : text_(std::move(path)) {
  options_["file.driver"] = "file";
  options_["file.filename"] = text_;
}

Result<NodeDescription> NodeDescription::from_name(std::string_view name) {
  if (name.starts_with("json:")) return from_json(name.substr(5));
  if (name.starts_with("file:")) return NodeDescription(std::string(name.substr(5)));
  for (const Form& form : forms) {
    if (!name.starts_with(form.begin)) continue;
    if (name.size() > longest_name_bytes) {
      return fail(ErrorCode::invalid_argument, "a name of {} bytes is too long: at most {}", name.size(),
                  longest_name_bytes);
    }
    BYRE_TRY(Options options, form.read(name));
    return NodeDescription(std::string(name), std::move(options));
  }
  for (const std::string_view protocol : other_protocols) {
    if (!name.starts_with(protocol)) continue;
    return fail(ErrorCode::unsupported,
                "'{}': the protocol '{}' is not supported: files, nbd: and nbd+unix: are (for a file of that name, "
                "'./' in front of it makes it plain)",
                escape_untrusted(name, 4096), protocol.substr(0, protocol.find(':')));
  }
  return NodeDescription(std::string(name));
}

bool NodeDescription::is_path() const {
  const auto driver = options_.find("file.driver");
  const bool file = driver != options_.end() && driver->second == Value("file");
  return file && options_.size() == 2 && options_.contains("file.filename");
}

std::optional<std::string> NodeDescription::path() const {
  const auto text = [this](std::string_view key) -> std::optional<std::string> {
    const auto found = options_.find(key);
    const auto* value = found == options_.end() ? nullptr : std::get_if<std::string>(&found->second);
    return value ? std::optional(*value) : std::nullopt;
  };
  const auto is_file = [](const std::string& driver) { return driver == "file" || driver == "host_device"; };
  const std::string format = text("driver").value_or("qcow2");
  if (is_file(format)) return text("filename");
  const bool whole = format == "qcow2" || (format == "raw" && !has_below("offset") && !has_below("size"));
  if (!whole || !is_file(text("file.driver").value_or("file"))) return std::nullopt;
  return text("file.filename");
}

}  // namespace byre
