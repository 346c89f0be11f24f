// Left out: which words are values of other options is not known here. A file that is called like an option must be
// given as ./NAME, or behind "--".
#include "cli/command_line.h"

#include <algorithm>

namespace byre::cli {

namespace {

Words::iterator separator_of(Words& words) { return std::ranges::find(words, "--"); }

}  // namespace

std::optional<std::string> take_option(Words& words, std::string_view name) {
  const std::string with_value = std::string(name) + "=";
  std::optional<std::string> value;
  for (auto word = words.begin(); word != separator_of(words);) {
    if (word->starts_with(with_value)) {
      value = word->substr(with_value.size());
      word = words.erase(word);
    } else if (*word == name) {
      word = words.erase(word);
      value = word == words.end() ? "" : *word;
      if (word != words.end()) word = words.erase(word);
    } else {
      ++word;
    }
  }
  return value;
}

void join_value(Words& words, std::string_view name, std::string_view value_prefix) {
  for (auto word = words.begin(); word != separator_of(words); ++word) {
    if (*word != name || word + 1 == words.end() || !(word + 1)->starts_with(value_prefix)) continue;
    *word += "=" + *(word + 1);
    words.erase(word + 1);
  }
}

void name_size(Words& words) {
  if (words.size() < 3 || words.back() == "--help" || words.back() == "-h") return;
  std::string size = "--size=" + words.back();
  words.pop_back();
  words.insert(words.begin() + 1, std::move(size));
}

void drop_idle_separator(Words& words) {
  const auto separator = separator_of(words);
  if (separator == words.end()) return;
  const bool before_command = separator == words.begin();
  const bool idle =
      std::none_of(separator + 1, words.end(), [](const std::string& word) { return word.starts_with('-'); });
  if (before_command || idle) words.erase(separator);
}

}  // namespace byre::cli
