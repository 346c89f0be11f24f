#include "cli/commands.h"

namespace byre::cli {

namespace {

struct Arguments {};

int run(const Arguments&) { return exit_failure; }

}  // namespace

void register_map(Cli& cli) { cli.add<Arguments>({"map", "map", ""}, run); }

}  // namespace byre::cli
