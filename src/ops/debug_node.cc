#include "ops/debug_node.h"

#include <algorithm>

#include "base/text.h"
#include "byre/storage/file.h"

namespace byre::ops {

namespace {

constexpr std::uint64_t most_config_bytes = 1 << 20;
constexpr unsigned most_rules = 1000;
constexpr std::uint64_t largest_errno = 4095;

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") + 1 - begin);
}

std::unexpected<Error> wrong_line(unsigned number, std::string_view line) {
  return fail(ErrorCode::invalid_argument,
              "line {}, '{}': [inject-error], [set-state] or key = \"value\" in such a section is expected", number,
              escape_untrusted(line));
}

// "[set-state]", or with a name: [set-state "first"].
std::string_view section_of(std::string_view line) {
  const std::string_view inside = trimmed(line.substr(1, line.size() - 2));
  const std::string_view kind = inside.substr(0, inside.find_first_of(" \t\""));
  return kind == "inject-error" || kind == "set-state" ? kind : std::string_view();
}

Result<AccessEvent> take_event(NodeOptions& rule) {
  BYRE_TRY(const auto name, rule.take_text("event"));
  if (!name) {
    return fail(ErrorCode::invalid_argument, "{} is missing", escape_untrusted(rule.full_name("event")));
  }
  if (const auto event = access_event_named(*name)) return *event;
  return fail(ErrorCode::unsupported, "{}={}: this engine has no such event", escape_untrusted(rule.full_name("event")),
              escape_untrusted(*name));
}

Result<unsigned> take_state(NodeOptions& rule, std::string_view key) {
  BYRE_TRY(const auto state, rule.take_number(key));
  constexpr std::uint64_t largest = 0xffff'ffff;
  if (state.value_or(0) <= largest) return static_cast<unsigned>(state.value_or(0));
  return fail(ErrorCode::invalid_argument, "{}={}: must be at most {}", escape_untrusted(rule.full_name(key)), *state,
              largest);
}

// -1: any.
Result<std::optional<std::uint64_t>> take_sector(NodeOptions& rule) {
  NodeOptions copy = rule;
  BYRE_TRY(const auto text, copy.take_text("sector"));
  if (text != "-1") return rule.take_number("sector");
  rule = std::move(copy);
  return std::nullopt;
}

Result<FaultRule> take_fault_rule(NodeOptions rule) {
  FaultRule fault;
  BYRE_TRY(fault.event, take_event(rule));
  BYRE_TRY(fault.state, take_state(rule, "state"));
  BYRE_TRY(const auto kind,
           rule.take_choice("iotype", {"read", "write", "write-zeroes", "discard", "flush", "block-status"}));
  if (kind) fault.kind = static_cast<AccessKind>(*kind);
  BYRE_TRY(const auto number, rule.take_number("errno"));
  if (number && (*number == 0 || *number > largest_errno)) {
    return fail(ErrorCode::invalid_argument, "{}={}: must be 1 to {}", escape_untrusted(rule.full_name("errno")),
                *number, largest_errno);
  }
  if (number) fault.errno_value = static_cast<int>(*number);
  BYRE_TRY(fault.sector, take_sector(rule));
  BYRE_TRY(const auto once, rule.take_bool("once"));
  BYRE_TRY(const auto immediately, rule.take_bool("immediately"));
  fault.once = once.value_or(false);
  fault.immediately = immediately.value_or(false);
  BYRE_CHECK(rule.expect_empty("blkdebug"));
  return fault;
}

Result<StateRule> take_state_rule(NodeOptions rule) {
  StateRule change;
  BYRE_TRY(change.event, take_event(rule));
  BYRE_TRY(change.state, take_state(rule, "state"));
  if (!rule.contains("new_state")) {
    return fail(ErrorCode::invalid_argument, "{} is missing", escape_untrusted(rule.full_name("new_state")));
  }
  BYRE_TRY(change.new_state, take_state(rule, "new_state"));
  BYRE_CHECK(rule.expect_empty("blkdebug"));
  return change;
}

// The rules of one kind, in the order of their numbers.
template <class Rule>
Result<std::vector<Rule>> take_rules(NodeOptions& node, std::string_view kind, Result<Rule> (*take_rule)(NodeOptions)) {
  std::vector<Rule> rules;
  BYRE_TRY(std::optional<NodeOptions> list, node.take_child(kind));
  if (!list) return rules;
  for (unsigned number = 0; number < most_rules; ++number) {
    BYRE_TRY(std::optional<NodeOptions> rule, list->take_child(fmt::format("{}", number)));
    if (!rule) break;
    BYRE_TRY(Rule taken, take_rule(*std::move(rule)));
    rules.push_back(taken);
  }
  BYRE_CHECK(list->expect_empty("blkdebug"));
  return rules;
}

Task<Result<std::string>> read_config(const std::string& path) {
  FileOptions options;
  options.locking = Locking::force_share;
  BYRE_CO_TRY(const std::unique_ptr<Storage> file, open_file(path, options));
  if (file->size_bytes() > most_config_bytes) {
    co_return fail_in(path, ErrorCode::invalid_argument, "{} bytes are too many: at most {}", file->size_bytes(),
                      most_config_bytes);
  }
  Buffer buffer(file->size_bytes());
  const Bytes target = buffer.bytes();
  BYRE_CO_CHECK(co_await read_exactly(*file, 0, target));
  co_return std::string(reinterpret_cast<const char*>(buffer.data()), buffer.size());
}

}  // namespace

Result<> add_debug_config(std::string_view text, NodeOptions& node) {
  unsigned counts[2] = {0, 0};
  std::string prefix;
  for (unsigned number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.starts_with('#')) continue;
    if (line.starts_with('[') && line.ends_with(']')) {
      const std::string_view kind = section_of(line);
      if (kind.empty()) return wrong_line(number, line);
      unsigned& count = counts[kind == "inject-error" ? 0 : 1];
      while (node.has_below(fmt::format("{}.{}", kind, count))) ++count;
      prefix = fmt::format("{}.{}.", kind, count++);
      continue;
    }
    const std::size_t equals = line.find('=');
    const std::string_view key = trimmed(line.substr(0, equals));
    const std::string_view value =
        equals == std::string_view::npos ? std::string_view() : trimmed(line.substr(equals + 1));
    const bool quoted = value.size() >= 2 && value.starts_with('"') && value.ends_with('"');
    if (prefix.empty() || key.empty() || !quoted ||
        !node.add(prefix + std::string(key), value.substr(1, value.size() - 2))) {
      return wrong_line(number, line);
    }
  }
  return {};
}

Task<Result<DebugRules>> take_debug_rules(NodeOptions& node) {
  BYRE_CO_TRY(const std::optional<std::string> path, node.take_text("config"));
  if (path) {
    BYRE_CO_TRY(const std::string text, co_await read_config(*path));
    auto added = add_debug_config(text, node);
    if (!added) co_return std::unexpected(std::move(added).error().in_file(*path));
  }
  BYRE_CO_TRY(std::vector<FaultRule> faults, take_rules<FaultRule>(node, "inject-error", take_fault_rule));
  BYRE_CO_TRY(std::vector<StateRule> states, take_rules<StateRule>(node, "set-state", take_state_rule));
  // Limits on requests, which no request of this engine comes near, or which it keeps without being told.
  for (const std::string_view key :
       {"align", "max-transfer", "opt-write-zero", "max-write-zero", "opt-discard", "max-discard"}) {
    BYRE_CO_TRY([[maybe_unused]] const auto limit, node.take_size(key));
  }
  co_return DebugRules(std::move(faults), std::move(states));
}

}  // namespace byre::ops
