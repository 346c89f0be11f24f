// A program outside the tree that uses the installed library: it must compile, link statically and run.
#include <cerrno>
#include <cstdio>

#include "byre/base/error.h"
#include "byre/base/result.h"

namespace {
byre::Result<int> divide(int dividend, int divisor) {
  if (divisor == 0) return std::unexpected(byre::Error::from_errno(EDOM, "divisor 0"));
  return dividend / divisor;
}

byre::Result<int> half_of_quotient(int dividend, int divisor) {
  BYRE_TRY(const int quotient, divide(dividend, divisor));
  return quotient / 2;
}
}  // namespace

int main() {
  const auto failed = half_of_quotient(8, 0);
  if (failed.has_value() || failed.error().errno_value() != EDOM) return 1;
  std::puts(failed.error().message().c_str());
  return half_of_quotient(8, 2) == 2 ? 0 : 1;
}
