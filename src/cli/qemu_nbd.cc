// The command line of qemu-nbd over the server of `byre serve`. Options that no part of this program answers are
// refused by name, with what to use instead; -A is always on.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/serve_run.h"
#include "cli/tls_objects.h"

namespace byre::cli {

namespace {

struct NbdArguments {
  std::vector<std::string> operands;
  ServeArguments serve;
  TlsObjects objects;
  std::optional<std::string> credentials;  // --tls-creds
  std::optional<CacheMode> cache;
  bool no_cache = false;
};

Result<> check_operands(const NbdArguments& arguments) {
  if (arguments.serve.list) {
    if (arguments.operands.empty()) return {};
    return fail(ErrorCode::invalid_argument, "-L shows what a server offers, and takes no file: {}",
                escape_untrusted(arguments.operands.front()));
  }
  if (arguments.operands.size() == 1) return {};
  return fail(ErrorCode::invalid_argument, "one image is expected, not {}", arguments.operands.size());
}

Result<> fill_in(const NbdArguments& arguments, ServeArguments& serve) {
  BYRE_CHECK(check_operands(arguments));
  if (!arguments.operands.empty()) serve.file = arguments.operands.front();
  if (arguments.no_cache && arguments.cache) {
    return fail(ErrorCode::invalid_argument, "-n and --cache say the same thing: give one of them");
  }
  serve.open.cache = arguments.no_cache ? CacheMode::none : arguments.cache.value_or(CacheMode::writeback);
  if (serve.socket) serve.port.reset();
  if (serve.detect_zeroes == DetectZeroes::unmap && !serve.discard) {
    return fail(ErrorCode::invalid_argument, "--detect-zeroes=unmap needs --discard=unmap");
  }
  if (arguments.credentials) {
    BYRE_TRY(serve.tls_options, arguments.objects.find(*arguments.credentials));
  }
  return {};
}

int run_nbd(const NbdArguments& arguments) {
  ServeArguments serve = arguments.serve;
  if (const Result<> filled = fill_in(arguments, serve); !filled) return report(filled);
  return run_serve(serve);
}

Parser::Enter refusal(std::string names, std::string reason) {
  return [names = std::move(names), reason = std::move(reason)](const std::string&) -> Result<> {
    return fail(ErrorCode::unsupported, "{} is not supported: {}", names, reason);
  };
}

// A word out of a few.
Parser::Enter choice(const std::string& name, const std::vector<std::string>& words,
                     const std::function<void(const std::string&)>& choose) {
  return [=](const std::string& word) -> Result<> {
    if (std::ranges::find(words, word) == words.end()) {
      return fail(ErrorCode::invalid_argument, "{}: '{}' is none of {}", name, escape_untrusted(word),
                  fmt::join(words, ", "));
    }
    choose(word);
    return {};
  };
}

void add_connection(Parser& parser, NbdArguments& arguments) {
  ServeArguments& serve = arguments.serve;
  parser.add_option(
      "-p,--port", [&serve](const std::string& word) { return read_port(word, serve.port); },
      "TCP port (default 10809)");
  parser.add_option("-b,--bind", serve.address, "address to listen on (default 0.0.0.0)");
  parser.add_option("-k,--socket", serve.socket, "listen on a Unix socket at this path");
  parser.add_option("-e,--shared", serve.shared, "how many clients at a time (default 1; 0: any number)");
  parser.add_flag("-t,--persistent", serve.persistent, "stay when the last client leaves");
  parser.add_flag("-v,--verbose", serve.verbose, "tell what happens");
  parser.add_option("-x,--export-name", serve.name, "name of the export (default: the empty name)");
  parser.add_option("-D,--description", serve.description, "text that clients may show");
  parser.add_flag("-L,--list", serve.list, "show what a server offers that runs already");
  parser
      .add_option(
          "--object", [&arguments](const std::string& text) { return arguments.objects.add(text); },
          "tls-creds-x509 or tls-creds-psk, with id=, dir= and verify-peer=")
      .every_occurrence();
  parser.add_option("--tls-creds", arguments.credentials, "id of the --object with the server's credentials");
  parser.add_option("--tls-authz", refusal("--tls-authz", "who has a certificate, or a key, is let in"), "refused");
  parser.add_option("--selinux-label", refusal("--selinux-label", "label the socket's directory instead"), "refused");
  add_trace(parser);
  parser.add_flag("--fork", serve.fork, "go to the background once clients can connect");
  parser.add_option("--pid-file", serve.pid_file, "write the process id to this file while serving");
}

void add_kernel_client(Parser& parser) {
  const std::string reason = "serve at a socket and run nbd-client -unix SOCKET DEVICE";
  parser.add_option("-c,--connect", refusal("-c, --connect", reason), "refused");
  parser.add_flag("-d,--disconnect", refusal("-d, --disconnect", "run nbd-client -d DEVICE"), "refused");
}

void add_image(Parser& parser, NbdArguments& arguments) {
  ServeArguments& serve = arguments.serve;
  add_image_opts(parser, serve.open.image_opts, add_format(parser, serve.open.format));
  parser.add_flag("-r,--read-only", serve.read_only, "serve, and open, read-only");
  parser.add_flag("-s,--snapshot", serve.throw_away, "drop at the end what clients wrote");
  add_snapshot(parser, serve.snapshot, "-l,--load-snapshot");
  add_size(parser, "-o,--offset", serve.offset_bytes, "where in the disk the export begins");
  parser.add_flag("-A,--allocation-depth", [] {}, "offer qemu:allocation-depth (it is always offered)");
  parser.add_option("-B,--bitmap", refusal("-B, --bitmap", "persistent bitmaps are not read yet"), "refused");
  parser.add_flag("-n,--nocache", arguments.no_cache, "the same as --cache=none");
  parser.add_option(
      "--cache",
      [&arguments](const std::string& word) -> Result<> {
        arguments.cache = parse_cache_mode(word);
        if (arguments.cache) return {};
        return fail(ErrorCode::invalid_argument, "unknown cache mode '{}'", escape_untrusted(word));
      },
      "none, writeback (default), writethrough, directsync or unsafe");
  add_aio(parser, serve.mode, "--aio");
  parser.add_option("--discard",
                    choice("--discard", {"ignore", "off", "unmap", "on"},
                           [&serve](const std::string& word) { serve.discard = word == "unmap" || word == "on"; }),
                    "ignore (default) or unmap");
  parser.add_option("--detect-zeroes",
                    choice("--detect-zeroes", {"off", "on", "unmap"},
                           [&serve](const std::string& word) {
                             serve.detect_zeroes = word == "off"  ? DetectZeroes::off
                                                   : word == "on" ? DetectZeroes::on
                                                                  : DetectZeroes::unmap;
                           }),
                    "off (default), on or unmap: what becomes of zeros that clients write");
}

}  // namespace

void register_qemu_nbd(Cli& cli) {
  auto [parser, arguments] =
      cli.add<NbdArguments>({"qemu-nbd", "Serve an image as a network block device (NBD)", ""}, run_nbd);
  arguments.serve.default_address = "0.0.0.0";
  arguments.serve.quiet = true;
  arguments.serve.discard = false;
  parser.add_option("file", arguments.operands, "the image");
  add_connection(parser, arguments);
  add_kernel_client(parser);
  add_image(parser, arguments);
}

}  // namespace byre::cli
