// The commands of `byre io`.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "cli/io_session.h"
#include "cli/io_words.h"

namespace byre::cli {

struct IoCommand {
  std::string_view name;
  std::string_view alias;  // may be empty
  int least_words;
  int most_words;  // negative: any number
  bool needs_disk;
  bool changes;                // needs a writable disk
  std::string_view options;    // as IoWords::scan() takes them; none: words that begin with '-' are nothing special
  std::string_view arguments;  // for the help
  std::string_view summary;
  // Prints what went wrong itself. Returns false if the command failed. The words outlive the task.
  Task<bool> (*run)(IoSession& session, const IoWords& words);
};

std::span<const IoCommand> io_transfer_commands();  // read, write, discard and their kin
std::span<const IoCommand> io_image_commands();     // length, map, truncate, open, ...
std::span<const IoCommand> io_break_commands();     // break, resume, ...
const IoCommand* find_io_command(std::string_view name);

// Prints the command's one-line usage to standard output.
void print_io_usage(std::string_view command);
// The same, for a command that fails so.
inline bool fail_with_usage(std::string_view command) {
  print_io_usage(command);
  return false;
}

// Runs one line: words, checks, command. An empty line is fine.
Task<bool> run_io_line(IoSession& session, std::string line);

}  // namespace byre::cli
