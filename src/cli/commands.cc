// The program `byre`: names its subcommands and leaves the rest to the frame.
#include "cli/commands.h"

#include <algorithm>
#include <string_view>

#include "cli/interrupt.h"
#include "cli/output.h"

namespace byre::cli {

namespace {

struct Registration {
  std::string_view name;
  void (*enter)(Cli& cli);
};

constexpr Registration registrations[] = {
    {"amend", register_amend},     {"bench", register_bench},
    {"check", register_check},     {"checksum", register_checksum},
    {"commit", register_commit},   {"compact", register_compact},
    {"compare", register_compare}, {"convert", register_convert},
    {"create", register_create},   {"dd", register_dd},
    {"info", register_info},       {"io", register_io},
    {"map", register_map},         {"measure", register_measure},
    {"mount", register_mount},     {"qemu-nbd", register_qemu_nbd},
    {"rebase", register_rebase},   {"resize", register_resize},
    {"serve", register_serve},     {"snapshot", register_snapshot},
    {"stream", register_stream},
};

// Only the command that is named: entering the options of all would take longer than most commands do. All of them if
// none is named, for help and for what is said of an unknown name.
void register_commands(Cli& cli, std::string_view name) {
  const auto* named = std::ranges::find(registrations, name, &Registration::name);
  if (named != std::end(registrations)) return named->enter(cli);
  for (const Registration& registration : registrations) registration.enter(cli);
}

}  // namespace

int run_tool(int argument_count, char** arguments) {
  occupy_standard_streams();
  ignore_write_signals();
  Cli cli;
  register_commands(cli, argument_count > 1 ? arguments[1] : "");
  return cli.run(argument_count, arguments);
}

}  // namespace byre::cli
