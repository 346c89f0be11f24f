// Splitting a command of `byre io` into words and options, as getopt does: options may stand anywhere, flags may share
// a word, a value may stand in the same word or the next.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace byre::cli {

// Words are separated by blanks; there is no quoting.
std::vector<std::string> split_words(std::string_view line);

class IoWords {
 public:
  // `accepted` lists the letters; a colon behind one means that it takes a value. The error is a text such as
  // "invalid option -- 'x'".
  static std::expected<IoWords, std::string> scan(const std::vector<std::string>& words, std::string_view accepted);

  // Words without options.
  static IoWords plain(std::vector<std::string> words);

  bool has(char letter) const { return options_.contains(letter); }
  std::optional<std::string> value(char letter) const;
  const std::vector<std::string>& rest() const { return rest_; }

 private:
  std::map<char, std::string> options_;  // the last one counts
  std::vector<std::string> rest_;
};

// What the words of a command say; each prints its own complaint on standard output and returns nothing.
std::optional<std::uint64_t> read_number(const std::string& word);          // docs/format.md C-3
std::optional<std::uint8_t> read_pattern(const std::string& word);          // 0 to 255, any base that C has
std::optional<std::uint64_t> read_request_length(const std::string& word);  // at most largest_request_bytes

inline constexpr std::uint64_t largest_request_bytes = 2147483136;  // docs/format.md C-30

}  // namespace byre::cli
