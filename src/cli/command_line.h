// The words of the command line, before the parser (parser.h) gets them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace byre::cli {

using Words = std::vector<std::string>;  // without the program's name

// Takes "NAME VALUE" and "NAME=VALUE" out, wherever they stand before "--". Returns the last value, which is empty if
// there is none behind the name; nothing if the option is not there.
std::optional<std::string> take_option(Words& words, std::string_view name);

// Makes one word, "NAME=VALUE", of an option that may stand alone and a word behind it that begins as its values do.
void join_value(Words& words, std::string_view name, std::string_view value_prefix);

// Makes the last word the value of --size: -1G would be taken for several options.
void name_size(Words& words);

// Takes the "--" out where it has no effect. CLI11 takes one that stands between positional arguments for the end of
// the command.
void drop_idle_separator(Words& words);

}  // namespace byre::cli
