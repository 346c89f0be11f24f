// getopt_long reads the words, so that what it allows is allowed here: options that are shortened, joined, repeated or
// behind operands, and "--". Each becomes a word that says the same to our own parser, which judges the values. Left
// out: what the other tool checks first when several things are wrong.
#include "cli/foreign_tool.h"

#include <fmt/format.h>
#include <getopt.h>

#include <algorithm>

#include "base/text.h"
#include "cli/flags.h"
#include "cli/personality.h"

namespace byre::cli {

namespace {

constexpr ForeignOption help_option = {'h', "help", "", ""};
constexpr ForeignOption frame_options[] = {help_option, {'V', "version", "", ""}, {'T', "trace", "pattern", ""}};

// One pass of getopt_long over words, of which the first is not looked at.
class OptionReader {
 public:
  // `stop_at_operand`: the first word that is no option ends the options.
  OptionReader(Words words, std::vector<ForeignOption> options, bool stop_at_operand)
      : words_(std::move(words)), options_(std::move(options)), letters_(stop_at_operand ? "+:" : ":") {
    names_.reserve(options_.size());
    for (const ForeignOption& option : options_) names_.emplace_back(option.name);
    for (std::size_t i = 0; i < options_.size(); ++i) declare(static_cast<int>(i));
    long_options_.push_back({nullptr, 0, nullptr, 0});
    for (std::string& word : words_) arguments_.push_back(word.data());
    arguments_.push_back(nullptr);
    optind = 0;  // begin anew
    opterr = 0;
  }

  // The next option, whose value is in value(); null: no more. Errors: unknown, ambiguous, without its value.
  Result<const ForeignOption*> next() {
    const int got = getopt_long(static_cast<int>(words_.size()), arguments_.data(), letters_.c_str(),
                                long_options_.data(), nullptr);
    if (got == -1) return nullptr;
    // A letter may stand in the midst of a word.
    const std::string word = optopt > 0 && optopt < first_index
                                 ? escape_untrusted(std::string{'-', static_cast<char>(optopt)})
                                 : escape_untrusted(arguments_[static_cast<std::size_t>(optind) - 1]);
    if (got == ':') return fail(ErrorCode::invalid_argument, "missing argument for option '{}'", word);
    if (got == '?') return fail(ErrorCode::invalid_argument, "unrecognized option '{}'", word);
    value_ = optarg ? optarg : "";
    if (got >= first_index) return &options_[static_cast<std::size_t>(got - first_index)];
    return &*std::ranges::find(options_, static_cast<char>(got), &ForeignOption::letter);
  }
  const std::string& value() const { return value_; }

  // What is left when next() has said that there are no more.
  Words operands() const { return {arguments_.begin() + optind, arguments_.end() - 1}; }

 private:
  static constexpr int first_index = 256;  // behind all letters

  void declare(int index) {
    const ForeignOption& option = options_[static_cast<std::size_t>(index)];
    const int has_value = option.value.empty() ? no_argument : required_argument;
    if (option.letter != 0) letters_ += option.letter;
    if (option.letter != 0 && has_value != no_argument) letters_ += ':';
    if (option.name.empty()) return;
    long_options_.push_back({names_[static_cast<std::size_t>(index)].c_str(), has_value, nullptr, first_index + index});
  }

  Words words_;
  std::vector<ForeignOption> options_;
  std::string letters_;
  std::vector<std::string> names_;
  std::vector<struct option> long_options_;
  std::vector<char*> arguments_;
  std::string value_;
};

std::string shown_name(const ForeignOption& option) {
  return option.letter != 0 ? fmt::format("-{}", option.letter) : fmt::format("--{}", option.name);
}

// Our words for one option.
Result<void> translate(const ForeignCommand& command, const ForeignOption& option, const std::string& value,
                       Words& words) {
  if (option.ours.empty() || !command.built) {
    return fail(ErrorCode::unsupported, "{}: option {} is not supported yet", command.name, shown_name(option));
  }
  if (option.ours == "-") return {};
  const std::string ours(option.ours);
  if (value.empty()) {
    words.push_back(ours);
    if (!option.value.empty()) words.emplace_back();
  } else {
    words.push_back(ours + "=" + value);
  }
  return {};
}

Result<void> check_operands(const ForeignCommand& command, const Words& operands) {
  if (operands.size() >= command.least_operands && operands.size() <= command.most_operands) return {};
  if (operands.size() > command.most_operands && command.most_operands != 1) {
    return fail(ErrorCode::invalid_argument, "Unexpected argument: {}",
                escape_untrusted(operands[command.most_operands]));
  }
  return fail(ErrorCode::invalid_argument, "{}: expecting {}, not {} words", command.name, command.operands,
              operands.size());
}

Result<ForeignRequest> read_command(const ForeignCommand& command, Words words) {
  ForeignRequest request;
  request.words.emplace_back(command.name);
  if (command.ends_in_size) {
    if (words.size() < 3) return fail(ErrorCode::invalid_argument, "Not enough arguments");
    request.words.push_back("--size=" + words.back());
    words.pop_back();
  }
  std::vector<ForeignOption> options(command.options.begin(), command.options.end());
  options.push_back(help_option);
  OptionReader reader(std::move(words), std::move(options), false);
  std::string given_once;
  for (;;) {
    BYRE_TRY(const ForeignOption* const option, reader.next());
    if (!option) break;
    if (option->letter == help_option.letter) return ForeignRequest{ForeignRequest::Kind::help, {}};
    if (option->letter != 0 && command.once.contains(option->letter)) given_once += option->letter;
    if (given_once.size() > 1) {
      return fail(ErrorCode::invalid_argument, "one of {} may be given, once",
                  fmt::format("-{}", fmt::join(command.once, ", -")));
    }
    BYRE_CHECK(translate(command, *option, reader.value(), request.words));
  }
  const Words operands = reader.operands();
  BYRE_CHECK(check_operands(command, operands));
  if (!command.built) return fail(ErrorCode::unsupported, "the command {} is not supported yet", command.name);
  if (std::ranges::any_of(operands, [](const std::string& word) { return word.starts_with('-'); })) {
    request.words.emplace_back("--");
  }
  request.words.insert(request.words.end(), operands.begin(), operands.end());
  return request;
}

std::string option_usage(const ForeignOption& option) {
  const std::string name = shown_name(option);
  if (option.value.empty()) return fmt::format(" [{}]", name);
  return fmt::format(" [{}{}{}]", name, option.letter != 0 ? ' ' : '=', option.value);
}

std::string command_usage(const ForeignCommand& command) {
  std::string text = fmt::format("  {}", command.name);
  for (const ForeignOption& option : command.options) {
    if (!option.ours.empty()) text += option_usage(option);
  }
  return text + fmt::format(" {}\n", command.operands);
}

}  // namespace

Result<ForeignRequest> read_foreign(const ForeignTool& tool, const Words& words) {
  if (words.empty()) return fail(ErrorCode::invalid_argument, "Not enough arguments");
  Words all = {std::string(personality().program)};
  all.insert(all.end(), words.begin(), words.end());
  OptionReader reader(std::move(all), {std::begin(frame_options), std::end(frame_options)}, true);
  for (;;) {
    BYRE_TRY(const ForeignOption* const option, reader.next());
    if (!option) break;
    if (option->letter == help_option.letter) return ForeignRequest{ForeignRequest::Kind::help, {}};
    if (option->letter == 'V') return ForeignRequest{ForeignRequest::Kind::version, {}};
    BYRE_CHECK(take_trace(reader.value()));
    if (reader.value() == "help") return ForeignRequest{ForeignRequest::Kind::nothing, {}};
  }
  Words rest = reader.operands();
  if (rest.empty()) return ForeignRequest{ForeignRequest::Kind::nothing, {}};
  const auto command = std::ranges::find(tool.commands, std::string_view(rest.front()), &ForeignCommand::name);
  if (command == tool.commands.end()) {
    return fail(ErrorCode::invalid_argument, "Command not found: {}", escape_untrusted(rest.front()));
  }
  return read_command(*command, std::move(rest));
}

std::string foreign_help(const ForeignTool& tool) {
  const std::string_view program = personality().program;
  std::string text = fmt::format(
      "{}\nusage: {} [-T|--trace pattern] command [options] operands\n       {} -h|--help, with or without a command\n"
      "       {} -V|--version\n\n{}\n\nCommands:\n",
      personality().version, program, program, program, tool.purpose);
  for (const ForeignCommand& command : tool.commands) {
    if (command.built) text += command_usage(command);
  }
  return text + "\n'byre help COMMAND' describes the options of a command.\n\nSupported formats: qcow2 raw\n";
}

std::string foreign_gaps(const ForeignTool& tool) {
  std::string text;
  for (const ForeignCommand& command : tool.commands) {
    if (!command.built) text += fmt::format("    {}: the command\n", command.name);
    if (!command.built) continue;
    std::string names;
    for (const ForeignOption& option : command.options) {
      if (option.ours.empty()) names += " " + shown_name(option);
    }
    if (!names.empty()) text += fmt::format("    {}:{}\n", command.name, names);
  }
  return text;
}

}  // namespace byre::cli
