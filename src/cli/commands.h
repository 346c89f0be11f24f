// Every subcommand, one line each. Each is defined in the file of its name.
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
void register_rebase(Cli& cli);
void register_resize(Cli& cli);
void register_serve(Cli& cli);
void register_snapshot(Cli& cli);
void register_stream(Cli& cli);

inline void register_commands(Cli& cli) {
  register_amend(cli);
  register_bench(cli);
  register_check(cli);
  register_checksum(cli);
  register_commit(cli);
  register_compact(cli);
  register_compare(cli);
  register_convert(cli);
  register_create(cli);
  register_dd(cli);
  register_info(cli);
  register_io(cli);
  register_map(cli);
  register_measure(cli);
  register_mount(cli);
  register_rebase(cli);
  register_resize(cli);
  register_serve(cli);
  register_snapshot(cli);
  register_stream(cli);
}

}  // namespace byre::cli
