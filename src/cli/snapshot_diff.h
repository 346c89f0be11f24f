// byre snapshot --diff
#pragma once

#include <string>

#include "cli/flags.h"

namespace byre::cli {

struct SnapshotDiff {
  std::string file;
  std::string first;   // as -l takes it; empty: the disk as it is now
  std::string second;  // likewise
  OutputFormat output = OutputFormat::human;
  bool quiet = false;
  OpenFlags open;
};

// Prints the ranges as they are found, and returns the exit code: 0 whether there are any or not.
int print_snapshot_diff(const SnapshotDiff& wanted);

}  // namespace byre::cli
