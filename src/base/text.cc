#include "base/text.h"

#include <array>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace byre {
namespace {

// Length of a well-formed UTF-8 sequence at the start of `text` that is safe to print, 0 if there is none.
std::size_t printable_length(std::string_view text) {
  const auto byte_at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte_at(0);
  if (first < 0x80) return first >= 0x20 && first != 0x7f && first != '\\' && first != '\'' ? 1 : 0;
  const std::size_t length = first >= 0xf0 && first < 0xf5 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  if (length == 0 || first >= 0xf5 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte_at(i) & 0xc0) != 0x80) return 0;
  }
  const bool c1_control = first == 0xc2 && byte_at(1) < 0xa0;
  const bool overlong = (first == 0xe0 && byte_at(1) < 0xa0) || (first == 0xf0 && byte_at(1) < 0x90);
  // U+200B..U+200F, U+202A..U+202E, U+2060..U+206F reorder or hide what is around them.
  const bool invisible = first == 0xe2 && ((byte_at(1) == 0x80 && (byte_at(2) >= 0x8b && byte_at(2) <= 0xae)) ||
                                           (byte_at(1) == 0x81 && byte_at(2) >= 0xa0));
  return c1_control || overlong || invisible ? 0 : length;
}

constexpr std::string_view size_suffixes = "bKMGTPE";

}  // namespace

std::string escape_untrusted(std::string_view text, std::size_t limit) {
  std::string out;
  std::size_t at = 0;
  while (at < text.size() && at < limit) {
    const std::size_t length = printable_length(text.substr(at));
    if (length > 0) {
      out += text.substr(at, length);
      at += length;
    } else {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[at]));
      ++at;
    }
  }
  if (at < text.size()) out += "...";
  return out;
}

std::string human_size(std::uint64_t size_bytes) {
  static constexpr std::array units = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  auto value = static_cast<double>(size_bytes);
  // 999.5 would print as 1e+03 with three digits.
  while (value >= 999.5 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.3g} {}", value, units[unit]);
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  const std::string copy(text);
  if (copy.empty() || copy[0] == '-' || copy[0] == '+' || std::isspace(static_cast<unsigned char>(copy[0]))) return {};
  const bool hex = copy.starts_with("0x") || copy.starts_with("0X");
  char* end = nullptr;
  errno = 0;
  const std::uint64_t whole = std::strtoull(copy.c_str(), &end, hex ? 16 : 10);
  if (end == copy.c_str() || errno != 0) return {};
  double fraction = 0;
  const bool has_fraction = !hex && *end == '.';
  if (has_fraction) {
    std::size_t digits = 0;
    const char* point = end++;
    while (*end >= '0' && *end <= '9') ++end, ++digits;
    if (digits == 0) return {};
    fraction = std::strtod(("0" + std::string(point, static_cast<std::size_t>(end - point))).c_str(), nullptr);
  }
  unsigned shift = 0;
  if (*end != '\0') {
    const char upper =
        *end == 'b' || *end == 'B' ? 'b' : static_cast<char>(std::toupper(static_cast<unsigned char>(*end)));
    const auto index = size_suffixes.find(upper);
    if (index == std::string_view::npos || end[1] != '\0') return {};
    shift = static_cast<unsigned>(index) * 10;
  }
  if (has_fraction && shift == 0) return {};
  constexpr std::uint64_t limit = std::numeric_limits<std::int64_t>::max();
  if (whole > (limit >> shift)) return {};
  const std::uint64_t size =
      (whole << shift) + static_cast<std::uint64_t>(fraction * std::ldexp(1.0, static_cast<int>(shift)));
  return size <= limit ? std::optional(size) : std::nullopt;
}

}  // namespace byre
