// An export as connections use it.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "byre/nbd/server.h"
#include "nbd/protocol.h"

namespace byre::nbd {

// What a client can ask the extents of.
enum class Context : std::uint32_t { allocation = 0, depth = 1 };
constexpr std::string_view context_name(Context context) {
  return context == Context::allocation ? "base:allocation" : "qemu:allocation-depth";
}
inline constexpr std::array all_contexts{Context::allocation, Context::depth};

inline std::uint16_t flags_of(const Export& exported, Style style) {
  std::uint16_t flags =
      export_flag::has_flags | export_flag::flush | export_flag::fua | export_flag::multi_conn | export_flag::cache;
  if (style != Style::simple) flags |= export_flag::do_not_fragment;
  if (!exported.part.writable()) return flags | export_flag::read_only;
  return flags | export_flag::trim | export_flag::write_zeroes | export_flag::fast_zero;
}

}  // namespace byre::nbd
