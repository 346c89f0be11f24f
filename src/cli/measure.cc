#include "cli/commands.h"

namespace byre::cli {

namespace {

struct Arguments {};

int run(const Arguments&) { return exit_failure; }

}  // namespace

void register_measure(Cli& cli) { cli.add<Arguments>({"measure", "measure", ""}, run); }

}  // namespace byre::cli
