// Declaring the options of a subcommand. CLI11 stands behind this face, in parser.cc and cli.cc only: what its headers
// hold, compiled into each subcommand, was more than half of the tool's build.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "byre/base/result.h"

namespace CLI {  // NOLINT(readability-identifier-naming): that library's name
class App;
class Option;
}  // namespace CLI

namespace byre::cli {

// One declared option, for what else there is to say about it. Lives as long as the frame (cli.h).
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}

  Option type_name(const std::string& name);  // what the help calls the value
  Option required();
  Option every_occurrence();  // all of them count, with a value each; else the last one does
  Option hidden();            // not in the help

 private:
  friend void exclude_each_other(const std::vector<Option>& options);
  CLI::Option* option_;
};

// At most one of them may be given.
void exclude_each_other(const std::vector<Option>& options);

class Parser {
 public:
  // Stores a word of the command line. An error is a usage error with its message.
  using Enter = std::function<Result<>(const std::string& word)>;

  explicit Parser(CLI::App& app) : app_(app) {}

  // `names` is "-f,--format", or a word without dashes for an operand. The value must outlive the frame's run; a word
  // that does not fit its type is a usage error.
  Option add_option(const std::string& names, std::string& value, const std::string& description);
  Option add_option(const std::string& names, std::optional<std::string>& value, const std::string& description);
  Option add_option(const std::string& names, std::vector<std::string>& values, const std::string& description);
  Option add_option(const std::string& names, unsigned& value, const std::string& description);
  Option add_option(const std::string& names, std::optional<unsigned>& value, const std::string& description);
  Option add_option(const std::string& names, Enter enter, const std::string& description);

  Option add_flag(const std::string& names, bool& value, const std::string& description);
  Option add_flag(const std::string& names, std::function<void()> set, const std::string& description);
  // May have a value behind "=": `enter` gets it, or an empty word.
  Option add_flag(const std::string& names, Enter enter, const std::string& description);

 private:
  CLI::App& app_;
};

}  // namespace byre::cli
