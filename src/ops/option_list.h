// The lists of -o: "cluster_size=4k,lazy_refcounts=on". Two commas stand for one in a value; a key without a value
// means "on"; a key that comes again replaces its former value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "byre/base/result.h"

namespace byre::ops {

class OptionList {
 public:
  // Adds what `text` lists. Errors (invalid_argument): an empty list, key or last item.
  Result<> add(std::string_view text);
  void set(std::string key, std::string value);

  bool empty() const { return options_.empty(); }
  bool contains(std::string_view key) const;
  // "help" or "?" alone asks for the list of options.
  bool asks_for_help() const { return contains("help") || contains("?"); }

  // Take an option out, if it is there. Errors (invalid_argument) name the option, its value and what would be right.
  std::optional<std::string> take(std::string_view key);
  Result<std::optional<bool>> take_bool(std::string_view key);           // on, off (also yes/no, true/false)
  Result<std::optional<std::uint64_t>> take_size(std::string_view key);  // docs/format.md C-3
  Result<std::optional<std::uint64_t>> take_number(std::string_view key);

  // An error (invalid_argument) that names the first option that nobody took.
  Result<> expect_empty(std::string_view format) const;

 private:
  std::vector<std::pair<std::string, std::string>> options_;  // in order of their first appearance
};

}  // namespace byre::ops
