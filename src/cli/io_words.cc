#include "cli/io_words.h"

#include <algorithm>
#include <cstdlib>

#include "base/text.h"
#include "cli/output.h"

namespace byre::cli {

std::vector<std::string> split_words(std::string_view line) {
  std::vector<std::string> words;
  while (true) {
    const std::size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos) return words;
    line.remove_prefix(begin);
    const std::size_t end = std::min(line.find_first_of(" \t\r"), line.size());
    words.emplace_back(line.substr(0, end));
    line.remove_prefix(end);
  }
}

std::expected<IoWords, std::string> IoWords::scan(const std::vector<std::string>& words, std::string_view accepted) {
  IoWords result;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--") {
      result.rest_.insert(result.rest_.end(), words.begin() + static_cast<std::ptrdiff_t>(i) + 1, words.end());
      break;
    }
    if (word.size() < 2 || word[0] != '-') {
      result.rest_.push_back(word);
      continue;
    }
    for (std::size_t at = 1; at < word.size(); ++at) {
      const char letter = word[at];
      const std::size_t known = letter == ':' ? std::string_view::npos : accepted.find(letter);
      if (known == std::string_view::npos) return std::unexpected(fmt::format("invalid option -- '{}'", letter));
      if (known + 1 >= accepted.size() || accepted[known + 1] != ':') {
        result.options_[letter] = "";
        continue;
      }
      const bool in_next_word = at + 1 == word.size();
      if (in_next_word && i + 1 == words.size()) {
        return std::unexpected(fmt::format("option requires an argument -- '{}'", letter));
      }
      result.options_[letter] = in_next_word ? words[++i] : word.substr(at + 1);
      break;
    }
  }
  return result;
}

IoWords IoWords::plain(std::vector<std::string> words) {
  IoWords result;
  result.rest_ = std::move(words);
  return result;
}

std::optional<std::string> IoWords::value(char letter) const {
  const auto found = options_.find(letter);
  return found == options_.end() ? std::nullopt : std::optional(found->second);
}

// Whether the size of a word that is none would do with fewer digits.
static bool is_too_large(std::string word) {
  const std::size_t digits = std::min(word.find_first_not_of("0123456789"), word.size());
  return digits > 0 && parse_size(word.replace(0, digits, "1")).has_value();
}

std::optional<std::uint64_t> read_number(const std::string& word) {
  const std::optional<std::uint64_t> value = parse_size(word);
  if (!value) {
    print(fmt::format(
        "Parsing error: {} -- {}\n",
        is_too_large(word) ? "argument too large" : "non-numeric argument, or extraneous/unrecognized suffix",
        escape_untrusted(word)));
  }
  return value;
}

std::optional<std::uint8_t> read_pattern(const std::string& word) {
  char* end = nullptr;
  const long value = std::strtol(word.c_str(), &end, 0);
  if (!word.empty() && *end == '\0' && value >= 0 && value <= 255) return static_cast<std::uint8_t>(value);
  print(fmt::format("{} is not a valid pattern byte\n", escape_untrusted(word)));
  return std::nullopt;
}

std::optional<std::uint64_t> read_request_length(const std::string& word) {
  const std::optional<std::uint64_t> value = read_number(word);
  if (!value || *value <= largest_request_bytes) return value;
  print(fmt::format("length cannot exceed {}, given {}\n", largest_request_bytes, word));
  return std::nullopt;
}

}  // namespace byre::cli
