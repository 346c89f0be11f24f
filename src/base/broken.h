// Rules that a test breaks on purpose, to see that the simulator notices (tests/broken/). In a normal build each is
// kept, and costs nothing. Use it in .cc files only: those that contain it are compiled a second time with
// BYRE_BREAKABLE, and put before the library.
#pragma once

#ifdef BYRE_BREAKABLE

#include <cstdint>
#include <string_view>

namespace byre {

// Breaks this rule from now on, in place of the one before; empty: none. The environment variable BYRE_BREAK_RULE names
// the first one.
void break_rule(std::string_view rule);

// Says whether the rule is the broken one, and counts that.
bool rule_is_broken(std::string_view rule);

// How often the broken rule has been asked for.
std::uint64_t times_broken();

}  // namespace byre

#define BYRE_BROKEN(rule) ::byre::rule_is_broken(rule)

#else

#define BYRE_BROKEN(rule) false

#endif
