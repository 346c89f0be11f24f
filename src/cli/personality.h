// The names that the program answers to. Started through a link called qemu-img, qemu-io or qemu-nbd it takes the
// command line of that tool, calls itself so, and prints what that tool prints.
#pragma once

#include <string_view>

namespace byre::cli {

struct ForeignTool;  // foreign_tool.h

// Names and texts live as long as the program.
struct Personality {
  std::string_view program;                   // before diagnostics, and in help
  std::string_view version;                   // what --version prints, with its newline
  std::string_view only_command;              // all words are for this command; empty: one of them names it
  std::string_view prompt;                    // of `io`, where a person types
  const ForeignTool* command_line = nullptr;  // null: the command line is ours
  // Results are what the other tool prints, and no more: scripts read them line by line.
  bool plain_results = false;
};

// By the last component of argv[0]. What is no known name is `byre`.
void choose_personality(std::string_view started_as);
const Personality& personality();

}  // namespace byre::cli
