// Values that came from key=value are words; those from JSON have types. Each is accepted for what it can mean.
#include "ops/node_options.h"

#include <algorithm>

#include "base/text.h"

namespace byre::ops {

namespace {

using Value = NodeDescription::Value;

std::string text_of(const Value& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  if (const auto* number = std::get_if<std::int64_t>(&value)) return fmt::format("{}", *number);
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  return "null";
}

}  // namespace

bool NodeOptions::has_below(std::string_view key) const {
  const std::string dotted = std::string(key) + '.';
  const auto next = options_.lower_bound(dotted);
  return options_.contains(key) || (next != options_.end() && next->first.starts_with(dotted));
}

std::string NodeOptions::text_or(std::string_view key, std::string_view otherwise) const {
  const auto found = options_.find(key);
  const auto* text = found == options_.end() ? nullptr : std::get_if<std::string>(&found->second);
  return text ? *text : std::string(otherwise);
}

NodeOptions NodeOptions::moved_below(std::string_view child, std::string_view driver) && {
  Options upper;
  const std::string dotted = std::string(child) + '.';
  for (auto& [key, value] : options_) {
    const bool common = std::ranges::find(common_node_options, key) != std::end(common_node_options);
    upper.emplace(common ? key : dotted + key, std::move(value));
  }
  upper.insert_or_assign(dotted + "driver", std::string(driver));
  NodeOptions result(std::move(upper), std::move(prefix_));
  result.moved_ = true;
  return result;
}

std::optional<Value> NodeOptions::take(std::string_view key) {
  const auto found = options_.find(key);
  if (found == options_.end()) return std::nullopt;
  Value value = std::move(found->second);
  options_.erase(found);
  return value;
}

std::unexpected<Error> NodeOptions::wrong(std::string_view key, std::string_view value,
                                          std::string_view expected) const {
  return fail(ErrorCode::invalid_argument, "{}={}: must be {}", escape_untrusted(full_name(key)),
              escape_untrusted(value), expected);
}

Result<std::optional<std::string>> NodeOptions::take_text(std::string_view key) {
  const auto value = take(key);
  if (!value) return std::nullopt;
  const auto* text = std::get_if<std::string>(&*value);
  const auto* number = std::get_if<std::int64_t>(&*value);
  if (number) return fmt::format("{}", *number);
  if (!text) return wrong(key, text_of(*value), "a text");
  if (text->find('\0') != std::string::npos) return wrong(key, *text, "a text without NUL bytes");
  return *text;
}

Result<std::optional<bool>> NodeOptions::take_bool(std::string_view key) {
  const auto value = take(key);
  if (!value) return std::nullopt;
  if (const auto* flag = std::get_if<bool>(&*value)) return *flag;
  const std::string text = text_of(*value);
  if (text == "on" || text == "yes" || text == "true" || text == "y") return true;
  if (text == "off" || text == "no" || text == "false" || text == "n") return false;
  return wrong(key, text, "on or off");
}

Result<std::optional<std::uint64_t>> NodeOptions::take_size(std::string_view key) {
  const auto value = take(key);
  if (!value) return std::nullopt;
  const std::string text = text_of(*value);
  const auto size = parse_size(text);
  if (!size) return wrong(key, text, "a number with an optional suffix k, M, G, T, P or E (powers of 1024)");
  return size;
}

Result<std::optional<std::uint64_t>> NodeOptions::take_number(std::string_view key) {
  const auto value = take(key);
  if (!value) return std::nullopt;
  const std::string text = text_of(*value);
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  const bool digits = hex || text.find_first_not_of("0123456789") == std::string::npos;
  const auto number = digits ? parse_size(text) : std::nullopt;
  if (!number) return wrong(key, text, "a whole number");
  return number;
}

Result<std::optional<std::size_t>> NodeOptions::take_choice(std::string_view key,
                                                            std::initializer_list<std::string_view> words) {
  const auto value = take(key);
  if (!value) return std::nullopt;
  const std::string text = text_of(*value);
  const auto found = std::ranges::find(words, text);
  if (found != words.end()) return static_cast<std::size_t>(found - words.begin());
  std::string expected;
  for (const std::string_view word : words) {
    const bool last = word == *(words.end() - 1);
    expected += fmt::format("{}{}", expected.empty() ? "" : last ? " or " : ", ", word);
  }
  return wrong(key, text, expected);
}

bool NodeOptions::take_null(std::string_view key) {
  const auto found = options_.find(key);
  if (found == options_.end()) return false;
  const auto* text = std::get_if<std::string>(&found->second);
  if (!std::holds_alternative<std::nullptr_t>(found->second) && !(text && text->empty())) return false;
  options_.erase(found);
  return true;
}

Result<std::optional<NodeOptions>> NodeOptions::take_child(std::string_view key) {
  if (const auto reference = take(key)) {
    return fail(ErrorCode::unsupported, "{}={}: there are no nodes that are defined elsewhere: {}.filename=PATH",
                escape_untrusted(full_name(key)), escape_untrusted(text_of(*reference)),
                escape_untrusted(full_name(key)));
  }
  const std::string dotted = std::string(key) + '.';
  Options below;
  auto next = options_.lower_bound(dotted);
  while (next != options_.end() && next->first.starts_with(dotted)) {
    below.emplace(next->first.substr(dotted.size()), std::move(next->second));
    next = options_.erase(next);
  }
  if (below.empty()) return std::nullopt;
  return NodeOptions(std::move(below), moved_ ? prefix_ : prefix_ + dotted);
}

Result<> NodeOptions::expect_empty(std::string_view driver) const {
  if (options_.empty()) return {};
  return fail(ErrorCode::invalid_argument, "driver {} does not know the option '{}'", driver,
              escape_untrusted(full_name(options_.begin()->first)));
}

Result<> NodeOptions::refuse(std::string_view key, std::string_view reason) const {
  if (!has_below(key)) return {};
  const auto first = options_.contains(key) ? options_.find(key) : options_.lower_bound(std::string(key) + '.');
  return fail(ErrorCode::unsupported, "{}: {}", escape_untrusted(full_name(first->first)), reason);
}

}  // namespace byre::ops
