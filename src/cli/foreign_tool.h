// The command line of another tool, as a table: what its commands take, and what that is called here.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "byre/base/result.h"
#include "cli/command_line.h"

namespace byre::cli {

struct ForeignOption {
  char letter;             // 0: none
  std::string_view name;   // without dashes; empty: none
  std::string_view value;  // what help calls its value; empty: it takes none
  std::string_view ours;   // the option of our command of that name; "-": accepted without effect; empty: not there yet
};

struct ForeignCommand {
  std::string_view name;
  std::span<const ForeignOption> options;
  std::string_view operands;  // as help shows them
  unsigned least_operands = 1;
  unsigned most_operands = 1;
  bool ends_in_size = false;   // the last word of the line is a size, also one like -1G
  bool built = true;           // else it is refused, whatever it gets
  std::string_view once = {};  // letters of options of which one may be given, once
};

struct ForeignTool {
  std::string_view purpose;  // a line of its help
  std::span<const ForeignCommand> commands;
};

// What a command line of that tool comes to.
struct ForeignRequest {
  enum class Kind { run, help, version, nothing };
  Kind kind = Kind::run;
  Words words;  // of run: in our own terms, the command first
};

// Reads the words behind the program's name as the tool does: by getopt_long, so that options may be shortened, joined,
// repeated and mixed with operands. Remarks go to standard error. Errors: unknown or incomplete options, a wrong number
// of operands, what is not there yet.
Result<ForeignRequest> read_foreign(const ForeignTool& tool, const Words& words);

// The tool's help, and the part of `help drop-in` that tells what it lacks here.
std::string foreign_help(const ForeignTool& tool);
std::string foreign_gaps(const ForeignTool& tool);

}  // namespace byre::cli
