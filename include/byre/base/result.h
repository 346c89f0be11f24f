// Result<T> and the TRY idioms. The library reports every failure through it and throws nothing.
#pragma once

#include <expected>
#include <utility>

#include "byre/base/error.h"

namespace byre {

template <class T = void>
using Result = std::expected<T, Error>;

}  // namespace byre

#define BYRE_CONCAT_INNER(a, b) a##b
#define BYRE_CONCAT(a, b) BYRE_CONCAT_INNER(a, b)

// BYRE_TRY(auto value, expression): declares `value` from a Result, or returns its error.
// A declaration form, since g++ 12 cannot compile statement expressions around co_await.
#define BYRE_TRY_WITH(result, give_back, declaration, ...) \
  auto result = (__VA_ARGS__);                             \
  if (!result) [[unlikely]]                                \
    give_back std::unexpected(std::move(result).error());  \
  declaration = *std::move(result)
#define BYRE_TRY(declaration, ...) BYRE_TRY_WITH(BYRE_CONCAT(byre_result_, __LINE__), return, declaration, __VA_ARGS__)
#define BYRE_CO_TRY(declaration, ...) \
  BYRE_TRY_WITH(BYRE_CONCAT(byre_result_, __LINE__), co_return, declaration, __VA_ARGS__)

// BYRE_CHECK(expression): for Result<void>; returns its error. One statement.
#define BYRE_CHECK_WITH(give_back, ...)                           \
  do {                                                            \
    auto byre_outcome = (__VA_ARGS__);                            \
    if (!byre_outcome) [[unlikely]]                               \
      give_back std::unexpected(std::move(byre_outcome).error()); \
  } while (false)
#define BYRE_CHECK(...) BYRE_CHECK_WITH(return, __VA_ARGS__)
#define BYRE_CO_CHECK(...) BYRE_CHECK_WITH(co_return, __VA_ARGS__)
