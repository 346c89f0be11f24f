// The frame of the command line tool. A subcommand is one file that defines its arguments, a run function and
//
//   void register_create(Cli& cli) {
//     auto [parser, arguments] = cli.add<CreateArguments>({"create", "Make a new image", "  byre create ...\n"}, run);
//     parser.add_option("file", arguments.file, "the image to make").required();
//   }
//
// plus one line in commands.h and one in commands.cc. The frame parses, prints help and usage errors, and calls the run
// function.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "cli/command_line.h"
#include "cli/parser.h"

namespace byre::cli {

// Exit codes of the tool (docs/format.md C-1). Subcommands may define others (C-6, C-20).
inline constexpr int exit_success = 0;
inline constexpr int exit_failure = 1;

struct CommandText {
  std::string name;
  std::string summary;   // one line, no full stop
  std::string examples;  // lines of "  byre NAME ...", shown at the end of the help; newline at the end
  int usage_failure_code = exit_failure;  // exit code for wrong options
  // The last word of the command line is a size, also one like -1G, and is handed to the option --size.
  bool ends_in_size = false;
};

// What add() hands back: the parser to declare options on, and the object they fill.
template <class Arguments>
struct Command {
  Parser parser;
  Arguments& arguments;
};

class Cli {
 public:
  Cli();
  ~Cli();

  // `run_command` is called after a successful parse; its value is the exit code.
  template <class Arguments>
  Command<Arguments> add(const CommandText& text, int (*run_command)(const Arguments&)) {
    auto arguments = std::make_shared<Arguments>();
    const Parser parser = add_command(text, [arguments, run_command] { return run_command(*arguments); });
    return {parser, *arguments};
  }

  // Parses our own command line, without the program's name, and runs what it asks for. Returns the exit code.
  int run(Words words);
  // The same with words that are known to name a command and its options (foreign_tool.h).
  int run_translated(Words words);

 private:
  struct Entry {
    CLI::App* app;
    int usage_failure_code;
    bool ends_in_size;
    std::function<int()> run;
  };
  Parser add_command(const CommandText& text, std::function<int()> run_command);
  void add_help_command();
  int parse_and_run(Words words);
  int print_help(const std::string& command) const;
  std::string help_of(const Entry& entry) const;
  int report_unknown_command(const std::string& name) const;
  int report_usage_error(const std::string& message) const;
  const Entry* chosen() const;

  std::unique_ptr<CLI::App> app_;
  std::map<std::string, Entry> entries_;
  std::string help_topic_;
  std::string overview_;
};

}  // namespace byre::cli
