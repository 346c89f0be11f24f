// byre serve: images as network block devices (NBD).
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/serve_run.h"

namespace byre::cli {

namespace {

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
