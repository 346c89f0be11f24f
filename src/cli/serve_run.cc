// From the arguments to a server that runs: images are opened, sockets made, then it goes to the background if it is
// to, and serves until it is told to end. Listing is a client's work, and ends at once.
#include "cli/serve_run.h"

#include <fmt/core.h>

#include <charconv>
#include <limits>
#include <memory>

#include "cli/cli.h"
#include "cli/loop.h"
#include "cli/output.h"
#include "cli/serve_list.h"
#include "cli/service.h"
#include "cli/throw_away.h"

namespace byre::cli {

namespace {

constexpr unsigned default_port = 10809;  // IANA's for NBD

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
  options.writable =
      !arguments.read_only && !arguments.snapshot && !arguments.open.force_share && !arguments.throw_away;
  options.discard = arguments.discard;
  options.detect_zeroes = arguments.detect_zeroes;
  for (Image& image : images) {
    BYRE_CO_TRY(image.disk, co_await open_image(image.file, arguments.open, options));
    if (!arguments.throw_away || arguments.read_only) continue;
    BYRE_CO_TRY(image.disk, co_await with_changes_in_file(std::move(image.disk), options));
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
  return Listener::on_port(arguments.address.value_or(arguments.default_address), port);
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

Task<Result<void>> serve_images(const ServeArguments& arguments, std::vector<Image>& images, Running& running,
                                Background& background) {
  nbd::ServerOptions options;
  options.limits.connections = arguments.shared == 0 ? std::numeric_limits<unsigned>::max() : arguments.shared;
  options.ends_with_last_client = !arguments.persistent;
  options.tls = arguments.tls_options;
  const bool has_credentials = !options.tls.certificate_directory.empty() || !options.tls.key_file.empty();
  options.tls.mode = arguments.tls.value_or(has_credentials ? nbd::TlsMode::require : nbd::TlsMode::off);
  if (!arguments.quiet) options.log = stderr_log(!arguments.verbose);
  BYRE_CO_TRY(const auto server, nbd::Server::make(exports_of(arguments, images), std::move(options)));
  BYRE_CO_TRY(std::vector<Listener> listeners, listen(arguments));
  BYRE_CO_CHECK(running.tell(arguments.pid_file));
  if (!arguments.quiet) announce(images, listeners);
  background.ready();
  EventLoop::current().spawn(running.signal.wait([&server] { server->stop(); }));
  const Result<void> served = co_await server->run(std::move(listeners));
  co_await running.signal.release();
  co_return served;
}

Task<Result<void>> serve(const ServeArguments& arguments, Background& background) {
  BYRE_CO_TRY(std::vector<Image> images, named_images(arguments));
  Result<void> served = co_await open_images(arguments, images);
  Running running;
  if (served) served = co_await serve_images(arguments, images, running, background);
  for (const Image& image : images) served = co_await close_after(std::move(served), image.disk.get());
  co_return served;
}

Task<Result<std::vector<nbd::OfferedExport>>> ask_for_exports(const ServeArguments& arguments) {
  const auto port = static_cast<std::uint16_t>(arguments.port.value_or(default_port));
  auto connected = arguments.socket ? Socket::to_path(*arguments.socket)
                                    : Socket::to_port(arguments.address.value_or(arguments.default_address), port);
  BYRE_CO_TRY(Socket socket, std::move(connected));
  co_return co_await nbd::list_exports(socket);
}

int run_list(const ServeArguments& arguments) {
  const auto exports = run_on_loop(ask_for_exports(arguments));
  if (!exports) return report(std::unexpected(exports.error()));
  print_exports(*exports, arguments.output);
  return exit_success;
}

}  // namespace

int run_serve(const ServeArguments& arguments) {
  if (arguments.list) return run_list(arguments);
  Result<Background> background = arguments.fork ? Background::enter() : Background();
  if (!background) return report(std::unexpected(background.error()));
  return report(run_on_loop(serve(arguments, *background), arguments.mode));
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

}  // namespace byre::cli
