// Descriptions as text: key=value lists, and JSON. Both become one flat list of dotted names. The text may come from a
// program that passes on what strangers said, so depth and number are bounded before anything is built from them.
#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/text.h"
#include "byre/ops/node.h"

namespace byre {

namespace {

using Options = NodeDescription::Options;
using Value = NodeDescription::Value;
using Json = nlohmann::json;

constexpr std::size_t most_levels = 32;
constexpr std::size_t most_options = 1000;
constexpr std::size_t most_text_bytes = 1 << 20;

Result<> check_key(std::string_view key) {
  const bool bad = key.empty() || key.front() == '.' || key.back() == '.' || key.find("..") != std::string_view::npos;
  if (bad) return fail(ErrorCode::invalid_argument, "option '{}' has no name", escape_untrusted(key));
  if (std::ranges::count(key, '.') < static_cast<std::ptrdiff_t>(most_levels)) return {};
  return fail(ErrorCode::invalid_argument, "option '{}' is more than {} levels deep", escape_untrusted(key),
              most_levels);
}

// Cuts the text up to the next single comma off, with ",," made one comma.
std::string cut_item(std::string_view& text) {
  std::string item;
  while (!text.empty()) {
    const char next = text.front();
    text.remove_prefix(1);
    if (next == ',') {
      if (!text.starts_with(',')) return item;
      text.remove_prefix(1);
    }
    item += next;
  }
  return item;
}

// Strings in single quotes, which JSON does not know, in double ones.
std::string with_double_quotes(std::string_view text) {
  std::string result;
  char quote = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote != 0 && c == '\\' && i + 1 < text.size()) {
      ++i;
      if (text[i] != '\'') result += '\\';
      result += text[i];
    } else if (quote == 0 && (c == '"' || c == '\'')) {
      quote = c;
      result += '"';
    } else if (quote != 0 && c == quote) {
      quote = 0;
      result += '"';
    } else {
      result += c == '"' ? "\\\"" : std::string(1, c);
    }
  }
  return result;
}

// Takes the events of a parser, which keeps no stack of its own calls, and builds names from where they happen.
class Flattener final : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(std::int64_t{value}); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max())) {
      return stop(fmt::format("number {} is too large", value));
    }
    return add(static_cast<std::int64_t>(value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return stop(fmt::format("'{}' is not a whole number of 64 bits", escape_untrusted(text)));
  }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return stop("binary data"); }
  bool start_object(std::size_t) override { return enter(false); }
  bool start_array(std::size_t) override { return enter(true); }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool key(string_t& name) override {
    levels_.back().name = name;
    if (levels_.back().names.insert(std::move(name)).second) return true;
    return stop(fmt::format("'{}' comes twice", escape_untrusted(here())));
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return stop(fmt::format("it is not JSON: see byte {}", position));
  }

  Result<Options> take() {
    if (wrong_) return fail(ErrorCode::invalid_argument, "json: {}", *wrong_);
    return std::move(options_);
  }

 private:
  struct Level {
    explicit Level(bool is_array) : array(is_array) {}
    bool array;
    std::size_t count = 0;  // of an array
    std::string name;       // of an object: the one that comes
    std::set<std::string> names;
  };

  std::string here() const {
    std::string result;
    for (const Level& level : levels_) {
      if (!result.empty()) result += '.';
      result += level.array ? fmt::format("{}", level.count) : level.name;
    }
    return result;
  }

  bool add(Value value) {
    if (levels_.empty()) return stop("an object {...} is expected");
    std::string name = here();
    if (const auto good = check_key(name); !good) return stop(good.error().message());
    if (options_.size() == most_options) return stop(fmt::format("more than {} options", most_options));
    if (!options_.emplace(name, std::move(value)).second) {
      return stop(fmt::format("option '{}' comes twice", escape_untrusted(name)));
    }
    ++levels_.back().count;
    return true;
  }
  bool enter(bool array) {
    if (levels_.empty() && array) return stop("an object {...} is expected");
    if (levels_.size() == most_levels) return stop(fmt::format("more than {} levels deep", most_levels));
    levels_.emplace_back(array);
    return true;
  }
  bool leave() {
    levels_.pop_back();
    if (!levels_.empty()) ++levels_.back().count;
    return true;
  }
  bool stop(std::string why) {
    if (!wrong_) wrong_ = std::move(why);
    return false;
  }

  std::vector<Level> levels_;
  Options options_;
  std::optional<std::string> wrong_;
};

Result<Options> read_list(std::string_view list) {
  Options options;
  for (std::string_view text = list; !text.empty();) {
    const std::string item = cut_item(text);
    const std::size_t equals = item.find('=');
    if (equals == std::string::npos && (item.find('/') != std::string::npos || options.empty())) {
      return fail(ErrorCode::invalid_argument, "'{}' is no key=value: a file is given as file.filename=PATH",
                  escape_untrusted(item));
    }
    const bool off = equals == std::string::npos && item.starts_with("no");
    std::string key = item.substr(off ? 2 : 0, off ? std::string::npos : equals);
    BYRE_CHECK(check_key(key));
    if (options.size() == most_options) {
      return fail(ErrorCode::invalid_argument, "there are more than {} options", most_options);
    }
    const std::string value = equals != std::string::npos ? item.substr(equals + 1) : off ? "off" : "on";
    options.insert_or_assign(std::move(key), value);
  }
  if (options.empty()) return fail(ErrorCode::invalid_argument, "the list of options is empty: driver=... is expected");
  return options;
}

}  // namespace

Result<NodeDescription> NodeDescription::from_options(std::string_view list) {
  BYRE_TRY(Options options, read_list(list));
  return NodeDescription(std::string(list), std::move(options));
}

Result<NodeDescription> NodeDescription::with_options(std::string_view list) const {
  BYRE_TRY(Options options, read_list(list));
  options.insert(options_.begin(), options_.end());
  return NodeDescription(text_, std::move(options));
}

Result<NodeDescription> NodeDescription::from_json(std::string_view text) {
  if (text.size() > most_text_bytes) {
    return fail(ErrorCode::invalid_argument, "json: {} bytes are too many: at most {}", text.size(), most_text_bytes);
  }
  Flattener flattener;
  Json::sax_parse(with_double_quotes(text), &flattener);
  BYRE_TRY(Options options, flattener.take());
  if (options.empty()) return fail(ErrorCode::invalid_argument, "json: the object is empty: a driver is expected");
  return NodeDescription("json:" + std::string(text), std::move(options));
}

bool NodeDescription::has_below(std::string_view name) const {
  const std::string dotted = std::string(name) + '.';
  const auto next = options_.lower_bound(dotted);
  return options_.contains(name) || (next != options_.end() && next->first.starts_with(dotted));
}

}  // namespace byre
