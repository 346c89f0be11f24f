// The options of one node of a description while it is opened: each driver takes what it knows, and what nobody took is
// an error that names it.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "byre/base/result.h"
#include "byre/ops/node.h"

namespace byre::ops {

class NodeOptions {
 public:
  using Options = NodeDescription::Options;

  // `prefix` is what stands before the node's names in the whole description: "" or "backing.file.".
  explicit NodeOptions(Options options, std::string prefix = "")
      : options_(std::move(options)), prefix_(std::move(prefix)) {}

  // For messages: as the user wrote it.
  std::string full_name(std::string_view key) const { return prefix_ + std::string(key); }
  bool contains(std::string_view key) const { return options_.contains(key); }
  // An option of that name or below it.
  bool has_below(std::string_view key) const;

  // Whether it was added: it was not there.
  bool add(std::string key, std::string_view text) {
    return options_.emplace(std::move(key), std::string(text)).second;
  }
  // The text that it has now; the other one where it is not there, or is no text.
  std::string text_or(std::string_view key, std::string_view otherwise) const;

  // A node over this one, which becomes its `child` of that driver. Options that every node has stay with the upper
  // one. Messages have the names that were given.
  NodeOptions moved_below(std::string_view child, std::string_view driver) &&;

  // Take an option out, if it is there. Errors (invalid_argument) name it, its value and what would be right.
  Result<std::optional<std::string>> take_text(std::string_view key);
  Result<std::optional<bool>> take_bool(std::string_view key);
  Result<std::optional<std::uint64_t>> take_size(std::string_view key);    // docs/format.md C-3
  Result<std::optional<std::uint64_t>> take_number(std::string_view key);  // without a suffix
  // The place of the value among the words.
  Result<std::optional<std::size_t>> take_choice(std::string_view key, std::initializer_list<std::string_view> words);
  // Whether it is there and says that there is no such child: null, or an empty word.
  bool take_null(std::string_view key);

  // Everything below "key.", as a node of its own. Errors (unsupported): `key` itself is there, which names a node that
  // is defined elsewhere.
  Result<std::optional<NodeOptions>> take_child(std::string_view key);

  // An error for the first option that is left.
  Result<> expect_empty(std::string_view driver) const;
  Result<> refuse(std::string_view key, std::string_view reason) const;  // if it is there, or anything below it

 private:
  std::optional<NodeDescription::Value> take(std::string_view key);
  std::unexpected<Error> wrong(std::string_view key, std::string_view value, std::string_view expected) const;

  Options options_;
  std::string prefix_;
  bool moved_ = false;  // the child was made by moved_below()
};

// The options that every node has.
inline constexpr std::string_view common_node_options[] = {
    "read-only", "auto-read-only", "force-share", "cache.direct", "cache.no-flush", "discard", "detect-zeroes",
};

}  // namespace byre::ops
