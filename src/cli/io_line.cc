// From a line to a command: lookup, the checks that all commands share, and the call.
#include <algorithm>

#include "base/text.h"
#include "cli/io_commands.h"
#include "cli/output.h"

namespace byre::cli {

namespace {

// Diagnostics without the program's name in front, as scripts know them.
bool refuse_line(std::string_view text) {
  print_bare_error(Error(ErrorCode::invalid_argument, std::string(text)));
  return false;
}

std::string expected_words(const IoCommand& command) {
  if (command.most_words < 0) return fmt::format("at least {} arguments", command.least_words);
  if (command.most_words == command.least_words) return fmt::format("{} arguments", command.least_words);
  return fmt::format("between {} and {} arguments", command.least_words, command.most_words);
}

// Whether the command may run at all, before its words are looked at.
bool check_command(IoSession& session, const IoCommand& command, int word_count) {
  if (command.needs_disk && !session.disk()) return refuse_line("no file open, try 'help open'");
  if (word_count < command.least_words || (command.most_words >= 0 && word_count > command.most_words)) {
    return refuse_line(
        fmt::format("bad argument count {} to {}, expected {}", word_count, command.name, expected_words(command)));
  }
  if (command.changes && !session.disk()->writable()) {
    print_error(Error(ErrorCode::refused, "Block node is read-only"));
    return false;
  }
  return true;
}

}  // namespace

const IoCommand* find_io_command(std::string_view name) {
  for (const auto commands : {io_transfer_commands(), io_image_commands(), io_break_commands()}) {
    const auto found = std::ranges::find_if(commands, [&](const IoCommand& command) {
      return command.name == name || (!command.alias.empty() && command.alias == name);
    });
    if (found != commands.end()) return &*found;
  }
  return nullptr;
}

void print_io_usage(std::string_view command) {
  const IoCommand* found = find_io_command(command);
  const std::string_view blank = found->arguments.empty() ? "" : " ";
  print(fmt::format("{}{}{} -- {}\n", found->name, blank, found->arguments, found->summary));
}

Task<bool> run_io_line(IoSession& session, std::string line) {
  std::vector<std::string> words = split_words(line);
  if (words.empty()) co_return true;
  const std::string name = words.front();
  words.erase(words.begin());
  const IoCommand* command = find_io_command(name);
  if (!command) co_return refuse_line(fmt::format("command \"{}\" not found", escape_untrusted(name)));
  if (!check_command(session, *command, static_cast<int>(words.size()))) co_return false;
  auto scanned = command->options.empty() ? IoWords::plain(std::move(words)) : IoWords::scan(words, command->options);
  if (!scanned) {
    refuse_line(fmt::format("{}: {}", command->name, scanned.error()));
    print_io_usage(command->name);
    co_return false;
  }
  const IoWords& arguments = *scanned;
  co_return co_await command->run(session, arguments);
}

}  // namespace byre::cli
