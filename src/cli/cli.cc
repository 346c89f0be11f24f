// The parser of the command line: CLI11 does the options; unknown subcommands, help and exit codes are done here, since
// its own wording and codes (106 and so on) are not what scripts written for other image tools expect.
#include "cli/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <utility>

#include "cli/drop_in.h"
#include "cli/events.h"
#include "cli/output.h"
#include "cli/personality.h"

namespace byre::cli {

namespace {

// Whether one letter added, left out or changed, or two swapped, make one word of the other.
bool looks_like(std::string_view typed, std::string_view name) {
  while (!typed.empty() && !name.empty() && typed.front() == name.front()) {
    typed.remove_prefix(1);
    name.remove_prefix(1);
  }
  while (!typed.empty() && !name.empty() && typed.back() == name.back()) {
    typed.remove_suffix(1);
    name.remove_suffix(1);
  }
  const bool swapped = typed.size() == 2 && name.size() == 2 && typed[0] == name[1] && typed[1] == name[0];
  return swapped || (typed.size() <= 1 && name.size() <= 1) || (name.size() + typed.size() > 0 && typed.empty());
}

// The parser's own messages repeat words as they were given; those of our checks are escaped already.
std::string without_controls(std::string text) {
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  std::ranges::replace_if(text, is_control, '?');
  return text;
}

// What the parser could not place. An option counts first: words that stand behind it were meant as its value.
std::string surplus_argument(const CLI::App& command) {
  const std::vector<std::string> surplus = command.remaining();
  for (const std::string& word : surplus) {
    if (word.starts_with('-')) return "unknown option '" + escape_untrusted(word) + "'";
  }
  return surplus.empty() ? "" : "unexpected argument '" + escape_untrusted(surplus.front()) + "'";
}

}  // namespace

Cli::Cli()
    : app_(std::make_unique<CLI::App>("Byre: create, inspect, convert and serve qcow2 and raw disk images.", "byre")) {
  app_->set_version_flag("-V,--version", std::string(personality().version));
  app_->set_help_flag("-h,--help", "Print this help and exit");
  app_->require_subcommand(1);
  app_->footer(
      "'byre help COMMAND' describes one command, 'byre help drop-in' what byre is under the name qemu-img. With\n"
      "--errors json, or BYRE_ERRORS=json, each diagnostic is a JSON object.");
}

Cli::~Cli() = default;

Parser Cli::add_command(const CommandText& text, std::function<int()> run_command) {
  CLI::App* command = app_->add_subcommand(text.name, text.summary);
  command->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);  // as getopt programs do
  if (!text.examples.empty()) command->footer("Examples:\n" + text.examples);
  Parser parser(*command);
  // Taken out before the words are parsed: how errors are written must be known where they cannot be.
  parser
      .add_option(
          "--errors", [](const std::string&) { return Result<>(); },
          "what standard error gets: text (default), or json: one object a line")
      .type_name("FORMAT");
  entries_[text.name] = {command, text.usage_failure_code, text.ends_in_size, std::move(run_command)};
  return parser;
}

void Cli::add_help_command() {
  Parser help =
      add_command({"help", "Describe a command", "  byre help create\n"}, [this] { return print_help(help_topic_); });
  help.add_option("command", help_topic_, "the command to describe");
}

int Cli::print_help(const std::string& command) const {
  if (command.empty()) {
    print(overview_);
    return exit_success;
  }
  if (command == "drop-in") {
    print(drop_in_help());
    return exit_success;
  }
  const auto entry = entries_.find(command);
  if (entry == entries_.end()) return report_unknown_command(command);
  print(help_of(entry->second));
  return exit_success;
}

// A program that is one command is called by its own name.
std::string Cli::help_of(const Entry& entry) const {
  std::string text = entry.app->help("byre");
  if (personality().only_command.empty()) return text;
  const std::string ours = "byre " + entry.app->get_name();
  for (std::size_t at = 0; (at = text.find(ours, at)) != std::string::npos;) {
    text.replace(at, ours.size(), personality().program);
  }
  return text;
}

int Cli::report_unknown_command(const std::string& name) const {
  std::string message = "unknown command '" + escape_untrusted(name) + "'";
  for (const auto& [known, entry] : entries_) {
    if (looks_like(name, known)) message += "; did you mean '" + known + "'?";
  }
  print_error(message);
  print_hint("Try 'byre help' for the list of commands.");
  return exit_failure;
}

const Cli::Entry* Cli::chosen() const {
  for (const auto& [name, entry] : entries_) {
    if (entry.app->parsed()) return &entry;
  }
  return nullptr;
}

int Cli::report_usage_error(const std::string& message) const {
  const Entry* entry = chosen();
  const std::string surplus = entry ? surplus_argument(*entry->app) : "";
  print_error(surplus.empty() ? without_controls(message) : surplus);
  const bool named = entry && personality().only_command.empty();
  const std::string topic = named ? " " + entry->app->get_name() : "";
  print_hint(fmt::format("Try '{}{} --help' for more information.", personality().program, topic));
  return entry ? entry->usage_failure_code : exit_failure;
}

int Cli::run_translated(Words words) { return parse_and_run(std::move(words)); }

int Cli::run(Words words) {
  const Result<> style = choose_diagnostic_style(take_option(words, "--errors"));
  const auto known = words.empty() ? entries_.end() : entries_.find(words.front());
  if (!style) return report(style, known == entries_.end() ? exit_failure : known->second.usage_failure_code);
  join_value(words, "--progress", "json:");
  if (known != entries_.end() && known->second.ends_in_size) name_size(words);
  drop_idle_separator(words);
  if (known == entries_.end()) {
    add_help_command();
    overview_ = app_->help();  // after parsing, CLI11 would give that of the chosen command
  }
  if (words.empty()) {
    print_error("a command is missing");
    print_hint("Try 'byre help' for the list of commands.");
    return exit_failure;
  }
  if (!words.front().starts_with('-') && !entries_.contains(words.front()))
    return report_unknown_command(words.front());
  return parse_and_run(std::move(words));
}

int Cli::parse_and_run(Words words) {
  std::ranges::reverse(words);  // as CLI11 wants them
  try {
    app_->parse(std::move(words));
  } catch (const CLI::CallForHelp&) {
    const Entry* entry = chosen();
    print(entry ? help_of(*entry) : overview_);
    return finish_output(exit_success);
  } catch (const CLI::CallForVersion& version) {
    print(version.what());
    return finish_output(exit_success);
  } catch (const CLI::ParseError& error) {
    return report_usage_error(error.what());
  }
  const Entry* entry = chosen();
  begin_events(entry->app->get_name());
  const int exit_code = finish_output(entry->run());
  end_events(exit_code, first_error());
  return exit_code;
}

}  // namespace byre::cli
