#include "cli/commands.h"

namespace byre::cli {

namespace {

struct Arguments {};

int run(const Arguments&) { return exit_failure; }

}  // namespace

void register_create(Cli& cli) { cli.add<Arguments>({"create", "create", ""}, run); }

}  // namespace byre::cli
