// What commit, stream and rebase have in common on the command line: long work on a chain that may be interrupted.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "byre/ops/chain.h"
#include "cli/flags.h"

namespace byre::cli {

struct ChainFlags {
  std::string file;
  bool quiet = false;
  bool progress = false;
  OpenFlags open;

  OpenOptions open_options_for_writing() const;
};

// The file, -t, -q, -p and what opening takes.
void add_chain_flags(Parser& parser, ChainFlags& flags, const std::string& file_description);

// Runs the work with progress under `verb` ("committing"), until it is done or interrupted; `done_text` is printed
// then. Returns the exit code.
int run_chain_work(const ChainFlags& flags, const std::string& verb, ChainOptions options, const std::string& done_text,
                   const std::function<Task<Result<void>>(ChainOptions)>& work);

}  // namespace byre::cli
