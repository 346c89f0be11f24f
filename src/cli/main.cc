// The program `byre`.
#include "cli/commands.h"

int main(int argument_count, char** arguments) { return byre::cli::run_tool(argument_count, arguments); }
