// The parser of the command line: CLI11 does the options; unknown subcommands, help and exit codes are done here, since
// its own wording and codes (106 and so on) are not what scripts written for other image tools expect.
#include "cli/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <utility>

#include "cli/output.h"

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

// Without the "--" where it has no effect. CLI11 takes one that stands between positional arguments for the end of the
// command.
std::vector<char*> without_idle_separator(std::vector<char*> words) {
  const auto separator = std::ranges::find_if(words, [](const char* word) { return std::string_view(word) == "--"; });
  if (separator == words.end()) return words;
  const bool before_command = separator == words.begin() + 1;
  const bool idle = std::none_of(separator + 1, words.end(), [](const char* word) { return word[0] == '-'; });
  if (before_command || idle) words.erase(separator);
  return words;
}

// The size behind the file's name as an option, since -1G would be taken for several. `kept` owns what is new.
std::vector<char*> with_named_size(std::vector<char*> words, std::vector<std::string>& kept) {
  const std::string_view last = words.back();
  if (words.size() < 4 || last == "--help" || last == "-h") return words;
  kept.push_back("--size=" + std::string(last));
  words.pop_back();
  words.insert(words.begin() + 2, kept.back().data());
  return words;
}

}  // namespace

Cli::Cli()
    : app_(std::make_unique<CLI::App>("Byre: create, inspect, convert and serve qcow2 and raw disk images.", "byre")) {
  app_->set_version_flag("-V,--version", "byre " BYRE_VERSION);
  app_->set_help_flag("-h,--help", "Print this help and exit");
  app_->require_subcommand(1);
  app_->footer("'byre help COMMAND' describes one command.");
}

Cli::~Cli() = default;

Parser Cli::add_command(const CommandText& text, std::function<int()> run_command) {
  CLI::App* command = app_->add_subcommand(text.name, text.summary);
  command->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);  // as getopt programs do
  if (!text.examples.empty()) command->footer("Examples:\n" + text.examples);
  entries_[text.name] = {command, text.usage_failure_code, text.ends_in_size, std::move(run_command)};
  return Parser(*command);
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
  const auto entry = entries_.find(command);
  if (entry == entries_.end()) return report_unknown_command(command);
  print(entry->second.app->help("byre"));
  return exit_success;
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
  const std::string topic = entry ? " " + entry->app->get_name() : "";
  print_hint("Try 'byre" + topic + " --help' for more information.");
  return entry ? entry->usage_failure_code : exit_failure;
}

int Cli::run(int given_count, char** given) {
  std::vector<std::string> kept;
  std::vector<char*> words(given, given + given_count);
  const auto known = given_count > 1 ? entries_.find(given[1]) : entries_.end();
  if (known != entries_.end() && known->second.ends_in_size) words = with_named_size(std::move(words), kept);
  const std::vector<char*> arguments = without_idle_separator(std::move(words));
  if (known == entries_.end()) {
    add_help_command();
    overview_ = app_->help();  // after parsing, CLI11 would give that of the chosen command
  }
  if (arguments.size() < 2) {
    print_error("a command is missing");
    print_hint("Try 'byre help' for the list of commands.");
    return exit_failure;
  }
  if (arguments[1][0] != '-' && !entries_.contains(arguments[1])) {
    return report_unknown_command(arguments[1]);
  }
  try {
    app_->parse(static_cast<int>(arguments.size()), arguments.data());
  } catch (const CLI::CallForHelp&) {
    const Entry* entry = chosen();
    print(entry ? entry->app->help("byre") : overview_);
    return finish_output(exit_success);
  } catch (const CLI::CallForVersion& version) {
    print(std::string(version.what()) + "\n");
    return finish_output(exit_success);
  } catch (const CLI::ParseError& error) {
    return report_usage_error(error.what());
  }
  return finish_output(chosen()->run());
}

}  // namespace byre::cli
