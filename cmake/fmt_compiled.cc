// {fmt}, compiled for a tool that brings its C++ runtime along (BYRE_STATIC_RUNTIME): Debian has it as a shared library
// only, which would bring in the shared runtime again. Its headers hold all of it but for two instantiations.
#include <fmt/format-inl.h>

template auto fmt::detail::thousands_sep_impl<char>(locale_ref) -> thousands_sep_result<char>;
template auto fmt::detail::decimal_point_impl<char>(locale_ref) -> char;
