#include "base/broken.h"

#ifdef BYRE_BREAKABLE

#include <cstdlib>
#include <string>

namespace byre {
namespace {

std::string& broken_rule() {
  static std::string rule = [] {
    const char* named = std::getenv("BYRE_BREAK_RULE");
    return std::string(named ? named : "");
  }();
  return rule;
}

std::uint64_t times = 0;

}  // namespace

void break_rule(std::string_view rule) {
  broken_rule() = rule;
  times = 0;
}

bool rule_is_broken(std::string_view rule) {
  if (broken_rule() != rule) return false;
  ++times;
  return true;
}

std::uint64_t times_broken() { return times; }

}  // namespace byre

#endif
