// byre io: exercises an image with single requests (docs/format.md C-29 to C-35).
#include <unistd.h>

#include <iostream>

#include "cli/commands.h"
#include "cli/io_commands.h"
#include "cli/loop.h"
#include "cli/output.h"
#include "cli/personality.h"

namespace byre::cli {

namespace {

struct IoArguments {
  std::optional<std::string> file;
  std::vector<std::string> commands;
  IoOpenSettings settings;
  bool no_cache = false;
  IoMode mode = IoMode::automatic;
};

// Prints what a command has to say before the next one waits for anything.
Task<bool> run_and_flush(IoSession& session, std::string line) {
  const bool done = co_await run_io_line(session, std::move(line));
  flush_output();
  co_return done;
}

Task<bool> run_standard_input(IoSession& session) {
  const bool interactive = ::isatty(STDIN_FILENO) != 0 || personality().plain_results;
  bool all_done = true;
  while (!session.quit) {
    if (interactive) print(personality().prompt);
    flush_output();
    std::string line;
    bool more = false;
    // Away from the loop: requests in flight go on while somebody types.
    co_await offload([&line, &more] { more = static_cast<bool>(std::getline(std::cin, line)); });
    if (!more) break;
    const bool done = co_await run_and_flush(session, std::move(line));
    all_done = all_done && done;
  }
  co_return all_done;
}

Task<bool> run_commands(IoSession& session, const std::vector<std::string>& commands) {
  if (commands.empty()) co_return co_await run_standard_input(session);
  bool all_done = true;
  for (const std::string& command : commands) {
    const bool done = co_await run_and_flush(session, command);
    all_done = all_done && done;
    if (session.quit) break;
  }
  co_return all_done;
}

Task<Result<int>> exercise(const IoArguments& arguments) {
  IoSession session;
  if (arguments.file) {
    const std::string path = *arguments.file;
    IoOpenSettings settings = arguments.settings;
    if (arguments.no_cache) settings.flags.cache = CacheMode::none;
    auto opened = co_await session.open(path, std::move(settings));
    if (!opened) {
      co_return std::unexpected(std::move(opened).error().with_context("can't open device " + escape_untrusted(path)));
    }
  }
  const bool all_done = co_await run_commands(session, arguments.commands);
  BYRE_CO_CHECK(co_await session.close());
  co_return all_done ? exit_success : exit_failure;
}

int run_io(const IoArguments& arguments) {
  const Result<int> code = run_on_loop(exercise(arguments), arguments.mode);
  return code ? *code : report(std::unexpected(code.error()));
}

void add_discard(Parser& parser, bool& discard) {
  const auto parse = [&discard](const std::string& text) -> Result<> {
    if (text != "unmap" && text != "on" && text != "ignore" && text != "off") {
      return fail(ErrorCode::invalid_argument, "Invalid discard option: {} (unmap or ignore)", escape_untrusted(text));
    }
    discard = text == "unmap" || text == "on";
    return {};
  };
  parser.add_option("-d,--discard", parse, "unmap (default) or ignore").type_name("MODE");
}

}  // namespace

void register_io(Cli& cli) {
  auto [parser, arguments] = cli.add<IoArguments>({"io", "Exercise an image with single requests",
                                                   "  byre io -c 'write -P 0xab 0 64k' -c 'read -v 0 32' disk.qcow2\n"
                                                   "  byre io -r -c map disk.qcow2\n"
                                                   "  byre io -l before-upgrade -c 'read -v 0 32' disk.qcow2\n"
                                                   "  byre io -c help\n"},
                                                  run_io);
  parser.add_option("file", arguments.file, "the image; the command 'open' can open it too");
  parser.add_option("-c,--cmd", arguments.commands, "run this command (repeatable; none: they are read from input)")
      .type_name("COMMAND")
      .every_occurrence();
  parser.add_flag("-r,--read-only", arguments.settings.read_only, "open it read-only");
  parser.add_flag("-s,--snapshot", arguments.settings.throw_away, "keep changes in memory and drop them at the end");
  add_snapshot(parser, arguments.settings.snapshot, "-l,--internal-snapshot");
  parser.add_flag("-C,--copy-on-read", arguments.settings.copy_on_read, "keep what is read from the backing file");
  parser.add_flag("-n,--nocache", arguments.no_cache, "short for -t none");
  add_cache_mode(parser, "-t,--cache", arguments.settings.flags.cache, "cache mode (default: writeback)");
  add_discard(parser, arguments.settings.discard);
  add_aio(parser, arguments.mode);
  IoArguments& target = arguments;
  parser.add_flag("-k,--native-aio", [&target] { target.mode = IoMode::uring; }, "the same as -i native");
  parser.add_flag("-m,--misalign", [] {}, "without effect: buffers lie as direct I/O needs them").hidden();
  add_trace(parser);
  add_open_flags(parser, arguments.settings.flags);
}

}  // namespace byre::cli
