// byre serve: images as network block devices (NBD).
#include <fmt/core.h>

#include <charconv>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "byre/nbd/server.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/loop.h"
#include "cli/output.h"
#include "cli/serve_list.h"
#include "cli/service.h"

namespace byre::cli {

namespace {

constexpr unsigned default_port = 10809;  // IANA's for NBD

struct ServeArguments {
  std::string file;
  std::vector<std::string> exports;  // NAME=IMAGE
  std::string name;
  std::string description;
  std::optional<std::string> socket;
  std::optional<std::string> address;
  std::optional<unsigned> port;
  std::optional<std::string> pid_file;
  std::optional<std::string> snapshot;
  std::optional<std::uint64_t> offset_bytes;
  std::optional<std::uint64_t> size_bytes;
  unsigned shared = 1;
  bool persistent = false;
  bool read_only = false;
  bool fork = false;
  bool list = false;
  OutputFormat output = OutputFormat::human;
  bool quiet = false;
  bool verbose = false;
  std::optional<nbd::TlsMode> tls;
  nbd::TlsOptions tls_options;
  OpenFlags open;
};

struct Image {
  std::string name;
  std::string file;
  std::unique_ptr<Disk> disk;
};

Result<std::vector<Image>> named_images(const ServeArguments& arguments) {
  std::vector<Image> images;
  if (!arguments.file.empty()) images.push_back({arguments.name, arguments.file, nullptr});
  for (const std::string& text : arguments.exports) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals + 1 == text.size()) {
      return fail(ErrorCode::invalid_argument, "--export {}: give NAME=IMAGE", escape_untrusted(text));
    }
    images.push_back({text.substr(0, equals), text.substr(equals + 1), nullptr});
  }
  if (images.empty()) return fail(ErrorCode::invalid_argument, "give an image, or --export NAME=IMAGE");
  return images;
}

Task<Result<void>> open_images(const ServeArguments& arguments, std::vector<Image>& images) {
  OpenOptions options = open_options(arguments.open, arguments.quiet);
  BYRE_CO_CHECK(choose_snapshot(arguments.snapshot, options));
  options.writable = !arguments.read_only && !arguments.snapshot && !arguments.open.force_share;
  for (Image& image : images) {
    OpenOptions own = options;
    BYRE_CO_TRY(image.disk, co_await open_image(image.file, arguments.open, std::move(own)));
  }
  co_return Result<void>{};
}

Result<std::vector<Listener>> listen(const ServeArguments& arguments) {
  BYRE_TRY(std::vector<Listener> listeners, inherited_listeners());
  if (!listeners.empty()) {
    if (arguments.socket || arguments.port || arguments.address || arguments.fork) {
      return fail(ErrorCode::invalid_argument,
                  "with sockets from a service manager there are no --socket, --port, "
                  "--bind and --fork");
    }
    return listeners;
  }
  if (arguments.socket) {
    BYRE_TRY(Listener listener, Listener::on_path(*arguments.socket));
    listeners.push_back(std::move(listener));
    return listeners;
  }
  const auto port = static_cast<std::uint16_t>(arguments.port.value_or(default_port));
  return Listener::on_port(arguments.address.value_or("127.0.0.1"), port);
}

std::vector<nbd::Export> exports_of(const ServeArguments& arguments, const std::vector<Image>& images) {
  std::vector<nbd::Export> exports;
  for (const Image& image : images) {
    nbd::Export exported;
    exported.name = image.name;
    exported.description = arguments.description;
    exported.part.disk = image.disk.get();
    exported.part.offset_bytes = arguments.offset_bytes.value_or(0);
    exported.part.size_bytes = arguments.size_bytes;
    exports.push_back(std::move(exported));
  }
  return exports;
}

void announce(const std::vector<Image>& images, const std::vector<Listener>& listeners) {
  for (const Image& image : images) {
    print(fmt::format("serving {} ({}{}) as export '{}'\n", escape_untrusted(image.file),
                      human_size(image.disk->size_bytes()), image.disk->writable() ? "" : ", read-only",
                      escape_untrusted(image.name)));
  }
  for (const Listener& listener : listeners) print(fmt::format("listening on {}\n", listener.name()));
  flush_output();
}

Task<Result<void>> serve_images(const ServeArguments& arguments, std::vector<Image>& images, Background& background) {
  BYRE_CO_CHECK(co_await open_images(arguments, images));
  nbd::ServerOptions options;
  options.limits.connections = arguments.shared == 0 ? std::numeric_limits<unsigned>::max() : arguments.shared;
  options.ends_with_last_client = !arguments.persistent;
  options.tls = arguments.tls_options;
  const bool has_credentials = !options.tls.certificate_directory.empty() || !options.tls.key_file.empty();
  options.tls.mode = arguments.tls.value_or(has_credentials ? nbd::TlsMode::require : nbd::TlsMode::off);
  if (!arguments.quiet) options.log = stderr_log(!arguments.verbose);
  BYRE_CO_TRY(const auto server, nbd::Server::make(exports_of(arguments, images), std::move(options)));
  EndSignal signal;
  BYRE_CO_TRY(std::vector<Listener> listeners, listen(arguments));
  std::optional<PidFile> pid_file;
  if (arguments.pid_file) {
    BYRE_CO_TRY(PidFile written, PidFile::write(*arguments.pid_file));
    pid_file.emplace(std::move(written));
  }
  if (!arguments.quiet) announce(images, listeners);
  background.ready();
  EventLoop::current().spawn(signal.wait([&server] { server->stop(); }));
  const Result<void> served = co_await server->run(std::move(listeners));
  co_await signal.release();
  co_return served;
}

Task<Result<void>> serve(const ServeArguments& arguments, Background& background) {
  BYRE_CO_TRY(std::vector<Image> images, named_images(arguments));
  Result<void> served = co_await serve_images(arguments, images, background);
  for (const Image& image : images) served = co_await close_after(std::move(served), image.disk.get());
  co_return served;
}

Task<Result<std::vector<nbd::OfferedExport>>> ask_for_exports(const ServeArguments& arguments) {
  const auto port = static_cast<std::uint16_t>(arguments.port.value_or(default_port));
  auto connected = arguments.socket ? Socket::to_path(*arguments.socket)
                                    : Socket::to_port(arguments.address.value_or("127.0.0.1"), port);
  BYRE_CO_TRY(Socket socket, std::move(connected));
  co_return co_await nbd::list_exports(socket);
}

int run_list(const ServeArguments& arguments) {
  const auto exports = run_on_loop(ask_for_exports(arguments));
  if (!exports) return report(std::unexpected(exports.error()));
  print_exports(*exports, arguments.output);
  return exit_success;
}

int run_serve(const ServeArguments& arguments) {
  if (arguments.list) return run_list(arguments);
  Result<Background> background = arguments.fork ? Background::enter() : Background();
  if (!background) return report(std::unexpected(background.error()));
  return report(run_on_loop(serve(arguments, *background)));
}

Result<> read_port(const std::string& word, std::optional<unsigned>& port) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size() || value > 65535) {
    return fail(ErrorCode::invalid_argument, "'{}' is not a port: 0 to 65535", escape_untrusted(word));
  }
  port = value;
  return {};
}

Result<> read_tls_mode(const std::string& word, std::optional<nbd::TlsMode>& mode) {
  if (word == "off")
    mode = nbd::TlsMode::off;
  else if (word == "on")
    mode = nbd::TlsMode::on;
  else if (word == "require")
    mode = nbd::TlsMode::require;
  else
    return fail(ErrorCode::invalid_argument, "'{}' is none of off, on, require", escape_untrusted(word));
  return {};
}

void add_tls(Parser& parser, ServeArguments& arguments) {
  parser
      .add_option(
          "--tls", [&arguments](const std::string& word) { return read_tls_mode(word, arguments.tls); },
          "off, on (clients may use it) or require (the default with certificates or keys)")
      .type_name("MODE");
  parser
      .add_option("--tls-certificates", arguments.tls_options.certificate_directory,
                  "directory with server-cert.pem, server-key.pem and ca-cert.pem")
      .type_name("DIR");
  parser
      .add_option("--tls-psk", arguments.tls_options.key_file,
                  "file of NAME:KEY, keys in hexadecimal, that clients have too")
      .type_name("FILE");
  parser.add_flag("--tls-verify-peer", arguments.tls_options.verify_peer,
                  "clients must have a certificate of ca-cert.pem");
}

}  // namespace

void register_serve(Cli& cli) {
  auto [parser, arguments] = cli.add<ServeArguments>(
      {"serve", "Serve images as network block devices (NBD)",
       "  byre serve --socket /run/vm.sock vm.qcow2      # nbd+unix:///?socket=/run/vm.sock\n"
       "  byre serve --read-only --persistent --shared 0 --port 10809 vm.qcow2\n"
       "  byre serve --socket s --export boot=boot.qcow2 --export data=data.qcow2\n"
       "  byre serve --list --socket s\n\n"
       "Ends when the last client leaves, unless --persistent is given, and on SIGTERM, SIGINT and\n"
       "SIGHUP: then what is under way is finished, and the images are flushed and closed.\n"},
      run_serve);
  ServeArguments& target = arguments;
  parser.add_option("file", arguments.file, "the image");
  parser.add_option("--export", arguments.exports, "NAME=IMAGE: another image, or several, by name")
      .type_name("NAME=IMAGE")
      .every_occurrence();
  parser.add_option("-x,--export-name", arguments.name, "name of the image's export (default: the empty name)");
  parser.add_option("-D,--description", arguments.description, "text that clients may show");
  const Option socket = parser.add_option("-k,--socket", arguments.socket, "listen on a Unix socket at this path");
  const Option port = parser.add_option(
      "-p,--port", [&target](const std::string& word) { return read_port(word, target.port); },
      "TCP port (default 10809; 0: any that is free)");
  parser.add_option("-b,--bind", arguments.address, "address to listen on (default 127.0.0.1)");
  exclude_each_other({socket, port});
  parser.add_option("-e,--shared", arguments.shared, "how many clients at a time (default 1; 0: any number)");
  parser.add_flag("-t,--persistent", arguments.persistent, "stay when the last client leaves");
  parser.add_flag("-r,--read-only", arguments.read_only, "serve, and open, read-only");
  add_snapshot(parser, arguments.snapshot, "-l,--load-snapshot,--snapshot");
  add_size(parser, "-o,--offset", arguments.offset_bytes, "where in the disk the exports begin");
  add_size(parser, "--size", arguments.size_bytes, "size of the exports (default: up to the end of the disk)");
  parser.add_flag("--fork", arguments.fork, "go to the background once clients can connect");
  parser.add_option("--pid-file", arguments.pid_file, "write the process id to this file while serving");
  parser.add_flag("-L,--list", arguments.list, "show what a server offers that runs already, at --socket or --port");
  add_output(parser, arguments.output);
  parser.add_flag("-v,--verbose", arguments.verbose, "tell what happens");
  add_cache_mode(parser, "--cache", arguments.open.cache, "how the images are written");
  add_tls(parser, target);
  add_quiet(parser, arguments.quiet);
  add_open_flags(parser, arguments.open);
}

}  // namespace byre::cli
