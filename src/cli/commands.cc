// The program `byre`: names its subcommands and leaves the rest to the frame.
#include "cli/commands.h"

#include <algorithm>
#include <string_view>

#include "cli/foreign_tool.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/personality.h"

namespace byre::cli {

namespace {

struct Registration {
  std::string_view name;
  void (*enter)(Cli& cli);
};

constexpr Registration registrations[] = {
    {"amend", register_amend},       {"bench", register_bench},
    {"check", register_check},       {"checksum", register_checksum},
    {"commit", register_commit},     {"compact", register_compact},
    {"compare", register_compare},   {"convert", register_convert},
    {"create", register_create},     {"dd", register_dd},
    {"info", register_info},         {"io", register_io},
    {"map", register_map},           {"measure", register_measure},
    {"mount", register_mount},       {"rebase", register_rebase},
    {"resize", register_resize},     {"serve", register_serve},
    {"snapshot", register_snapshot}, {"stream", register_stream},
};

// Only the command that is named: entering the options of all would take longer than most commands do. All of them if
// none is named, for help and for what is said of an unknown name.
void register_commands(Cli& cli, std::string_view name) {
  if (name == "qemu-nbd") return register_qemu_nbd(cli);  // one of another name's, not of ours
  const auto* named = std::ranges::find(registrations, name, &Registration::name);
  if (named != std::end(registrations)) return named->enter(cli);
  for (const Registration& registration : registrations) registration.enter(cli);
}

int run_foreign(const ForeignTool& tool, const Words& words) {
  if (const Result<> style = choose_diagnostic_style(std::nullopt); !style) return report(style);
  const auto request = read_foreign(tool, words);
  if (!request) {
    print_error(request.error());
    print_hint(fmt::format("Try '{} --help' for more information", personality().program));
    return finish_output(exit_failure);
  }
  if (request->kind == ForeignRequest::Kind::help) print(foreign_help(tool));
  if (request->kind == ForeignRequest::Kind::version) print(personality().version);
  if (request->kind != ForeignRequest::Kind::run) return finish_output(exit_success);
  Cli cli;
  register_commands(cli, request->words.front());
  return cli.run_translated(request->words);
}

}  // namespace

int run_tool(int argument_count, char** arguments) {
  occupy_standard_streams();
  ignore_write_signals();
  choose_personality(argument_count > 0 ? arguments[0] : "");
  Words words(arguments + std::min(argument_count, 1), arguments + argument_count);
  if (const ForeignTool* const tool = personality().command_line) return run_foreign(*tool, words);
  const std::string only_command(personality().only_command);
  const bool asks_version = !words.empty() && (words.front() == "-V" || words.front() == "--version");
  if (!only_command.empty() && !asks_version) words.insert(words.begin(), only_command);
  Cli cli;
  register_commands(cli, words.empty() ? "" : words.front());
  return cli.run(std::move(words));
}

}  // namespace byre::cli
