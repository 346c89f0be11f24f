#include "byre/base/assert.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace byre {

// The one place where the library writes to a descriptor on its own: the process is about to end, and no error path
// may be trusted any more.
void assertion_failed(const char* condition, const char* file, int line) {
  char text[512];
  const int length = std::snprintf(text, sizeof text, "byre: internal error: %s (%s:%d)\n", condition, file, line);
  if (length > 0) [[maybe_unused]]
    const auto written = ::write(2, text, static_cast<std::size_t>(length) % sizeof text);
  std::abort();
}

}  // namespace byre
