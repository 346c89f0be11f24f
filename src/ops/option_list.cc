// A small vector searched in order: lists are short, and the order matters for messages.
#include "ops/option_list.h"

#include <algorithm>

#include "base/text.h"

namespace byre::ops {

namespace {

// Cuts the text up to the next single comma off, with ",," made one comma. Tells whether there was a single comma.
std::pair<std::string, bool> cut_item(std::string_view& text) {
  std::string item;
  while (!text.empty()) {
    const char next = text.front();
    text.remove_prefix(1);
    if (next == ',') {
      if (!text.starts_with(',')) return {item, true};
      text.remove_prefix(1);
    }
    item += next;
  }
  return {item, false};
}

template <class Options>
auto find_key(Options& options, std::string_view key) {
  return std::find_if(options.begin(), options.end(), [&](const auto& option) { return option.first == key; });
}

}  // namespace

Result<> OptionList::add(std::string_view text) {
  if (text.empty()) return fail(ErrorCode::invalid_argument, "the list of options is empty: key=value,... is expected");
  const std::string_view list = text;
  while (!text.empty()) {
    const auto [item, separated] = cut_item(text);
    const std::size_t equals = item.find('=');
    std::string key = item.substr(0, equals);
    if (key.empty()) return fail(ErrorCode::invalid_argument, "option '{}' has no name", escape_untrusted(item));
    if (separated && text.empty()) {
      return fail(ErrorCode::invalid_argument, "nothing follows the last comma of the options '{}'",
                  escape_untrusted(list));
    }
    set(std::move(key), equals == std::string::npos ? "on" : item.substr(equals + 1));
  }
  return {};
}

void OptionList::set(std::string key, std::string value) {
  const auto found = find_key(options_, key);
  if (found != options_.end()) {
    found->second = std::move(value);
  } else {
    options_.emplace_back(std::move(key), std::move(value));
  }
}

bool OptionList::contains(std::string_view key) const { return find_key(options_, key) != options_.end(); }

std::optional<std::string> OptionList::take(std::string_view key) {
  const auto found = find_key(options_, key);
  if (found == options_.end()) return std::nullopt;
  std::string value = std::move(found->second);
  options_.erase(found);
  return value;
}

Result<std::optional<bool>> OptionList::take_bool(std::string_view key) {
  const auto value = take(key);
  if (!value) return std::nullopt;
  if (*value == "on" || *value == "yes" || *value == "true" || *value == "y") return true;
  if (*value == "off" || *value == "no" || *value == "false" || *value == "n") return false;
  return fail(ErrorCode::invalid_argument, "{}={}: must be on or off", key, escape_untrusted(*value));
}

Result<std::optional<std::uint64_t>> OptionList::take_size(std::string_view key) {
  const auto value = take(key);
  if (!value) return std::nullopt;
  const auto size = parse_size(*value);
  if (!size) {
    return fail(ErrorCode::invalid_argument,
                "{}={}: must be a number with an optional suffix k, M, G, T, P or E (powers of 1024)", key,
                escape_untrusted(*value));
  }
  return size;
}

Result<std::optional<std::uint64_t>> OptionList::take_number(std::string_view key) {
  const auto value = take(key);
  if (!value) return std::nullopt;
  const bool hex = value->starts_with("0x") || value->starts_with("0X");
  const bool digits = hex || value->find_first_not_of("0123456789") == std::string::npos;
  const auto number = digits ? parse_size(*value) : std::nullopt;
  if (!number) {
    return fail(ErrorCode::invalid_argument, "{}={}: must be a whole number", key, escape_untrusted(*value));
  }
  return number;
}

Result<> OptionList::expect_empty(std::string_view format) const {
  if (options_.empty()) return {};
  return fail(ErrorCode::invalid_argument, "unknown option '{}' for format {}; '-o help' lists the options",
              escape_untrusted(options_.front().first), format);
}

}  // namespace byre::ops
