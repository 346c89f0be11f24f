// The program `byre`: names its subcommands and leaves the rest to the frame.
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"

int main(int argument_count, char** arguments) {
  byre::cli::occupy_standard_streams();
  byre::cli::ignore_write_signals();
  byre::cli::Cli cli;
  byre::cli::register_commands(cli);
  return cli.run(argument_count, arguments);
}
