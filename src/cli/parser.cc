// Hands on to CLI11, type by type.
#include "cli/parser.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <limits>
#include <utility>

#include "base/text.h"

namespace byre::cli {

Option Option::type_name(const std::string& name) {
  option_->type_name(name);
  return *this;
}

Option Option::required() {
  option_->required();
  return *this;
}

Option Option::every_occurrence() {
  option_->take_all()->allow_extra_args(false);
  return *this;
}

Option Option::hidden() {
  option_->group("");
  return *this;
}

void exclude_each_other(const std::vector<Option>& options) {
  for (const Option& one : options) {
    for (const Option& other : options) {
      if (one.option_ != other.option_) one.option_->excludes(other.option_);
    }
  }
}

Option Parser::add_option(const std::string& names, std::string& value, const std::string& description) {
  return Option(app_.add_option(names, value, description));
}

Option Parser::add_option(const std::string& names, std::optional<std::string>& value, const std::string& description) {
  return Option(app_.add_option(names, value, description));
}

Option Parser::add_option(const std::string& names, std::vector<std::string>& values, const std::string& description) {
  return Option(app_.add_option(names, values, description));
}

namespace {

void enter_or_throw(const Parser::Enter& enter, const std::string& word) {
  if (const Result<> entered = enter(word); !entered) throw CLI::ValidationError(entered.error().message());
}

template <class Value>
Parser::Enter number_into(const std::string& names, Value& value) {
  return [name = names.substr(names.rfind(',') + 1), &value](const std::string& word) -> Result<> {
    unsigned number = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    if (error != std::errc() || end != word.data() + word.size()) {
      return fail(ErrorCode::invalid_argument, "{}: '{}' is not a number from 0 to {}", name, escape_untrusted(word),
                  std::numeric_limits<unsigned>::max());
    }
    value = number;
    return {};
  };
}

}  // namespace

Option Parser::add_option(const std::string& names, unsigned& value, const std::string& description) {
  return add_option(names, number_into(names, value), description).type_name("NUMBER");
}

Option Parser::add_option(const std::string& names, std::optional<unsigned>& value, const std::string& description) {
  return add_option(names, number_into(names, value), description).type_name("NUMBER");
}

Option Parser::add_option(const std::string& names, Enter enter, const std::string& description) {
  const auto parse = [enter = std::move(enter)](const std::string& word) { enter_or_throw(enter, word); };
  return Option(app_.add_option_function<std::string>(names, parse, description));
}

Option Parser::add_flag(const std::string& names, bool& value, const std::string& description) {
  return Option(app_.add_flag(names, value, description));
}

Option Parser::add_flag(const std::string& names, std::function<void()> set, const std::string& description) {
  return Option(app_.add_flag_callback(names, std::move(set), description));
}

Option Parser::add_flag(const std::string& names, Enter enter, const std::string& description) {
  const auto parse = [enter = std::move(enter)](const CLI::results_t& words) {
    // Without a value, CLI11 has either of these.
    for (const std::string& word : words) enter_or_throw(enter, word == "true" ? "" : word);
    return true;
  };
  return Option(app_.add_option(names, parse, description)->expected(0)->take_all());
}

}  // namespace byre::cli
