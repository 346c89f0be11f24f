// Text for messages: formatted errors, escaped image strings, sizes.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "byre/base/error.h"

namespace byre {

// return fail(ErrorCode::corrupt, "L1 table at {:#x} is not aligned to {}", ...);
template <class... Args>
std::unexpected<Error> fail(ErrorCode code, fmt::format_string<Args...> pattern, Args&&... args) {
  return std::unexpected(Error(code, fmt::format(pattern, std::forward<Args>(args)...)));
}

// The same about a file: the message begins with its name, as Error::in_file() has it.
template <class... Args>
std::unexpected<Error> fail_in(std::string_view path, ErrorCode code, fmt::format_string<Args...> pattern,
                               Args&&... args) {
  return std::unexpected(Error(code, fmt::format(pattern, std::forward<Args>(args)...)).in_file(path));
}

// Makes a string that came from an image safe to print: control bytes, quotes, backslashes and bytes that are
// not UTF-8 become \xNN; at most `limit` bytes are kept, then "..." follows (docs/format.md H-6).
std::string escape_untrusted(std::string_view text, std::size_t limit = 256);

// "1.5 GiB", "64 KiB", "512 B": three significant digits, binary units.
std::string human_size(std::uint64_t size_bytes);

// A size as docs/format.md C-3 has it: decimal or 0x-hex, optional suffix b k K M G T P E (powers of 1024), decimal
// fractions allowed for suffixed values. Nothing for anything else, or above 2^63 - 1.
std::optional<std::uint64_t> parse_size(std::string_view text);

}  // namespace byre
