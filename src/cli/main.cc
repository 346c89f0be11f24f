// The program `byre`: names its subcommands and leaves the rest to the frame.
#include "cli/commands.h"

int main(int argument_count, char** arguments) {
  byre::cli::Cli cli;
  byre::cli::register_commands(cli);
  return cli.run(argument_count, arguments);
}
