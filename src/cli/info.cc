#include "cli/commands.h"

namespace byre::cli {

namespace {

struct Arguments {};

int run(const Arguments&) { return exit_failure; }

}  // namespace

void register_info(Cli& cli) { cli.add<Arguments>({"info", "info", ""}, run); }

}  // namespace byre::cli
