// The subcommands, each defined in the file of its name, and the tool that they make up.
#pragma once

#include "cli/cli.h"

namespace byre::cli {

void register_amend(Cli& cli);
void register_bench(Cli& cli);
void register_check(Cli& cli);
void register_checksum(Cli& cli);
void register_commit(Cli& cli);
void register_compact(Cli& cli);
void register_compare(Cli& cli);
void register_convert(Cli& cli);
void register_create(Cli& cli);
void register_dd(Cli& cli);
void register_info(Cli& cli);
void register_io(Cli& cli);
void register_map(Cli& cli);
void register_measure(Cli& cli);
void register_mount(Cli& cli);
void register_qemu_nbd(Cli& cli);
void register_rebase(Cli& cli);
void register_resize(Cli& cli);
void register_serve(Cli& cli);
void register_snapshot(Cli& cli);
void register_stream(Cli& cli);

// All that the program `byre` does. Returns its exit code.
int run_tool(int argument_count, char** arguments);

}  // namespace byre::cli
