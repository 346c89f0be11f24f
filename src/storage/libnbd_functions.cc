#include "storage/libnbd_functions.h"

#include "base/shared_library.h"
#include "base/text.h"

namespace byre {
namespace {

Result<LibNbd> load_libnbd() {
  BYRE_TRY(SharedLibrary library, SharedLibrary::load("libnbd.so.0", "an NBD client needs libnbd"));
  LibNbd functions;
#define BYRE_LIBNBD_LOAD(name) library.find(functions.name, #name);
  BYRE_LIBNBD_FUNCTIONS(BYRE_LIBNBD_LOAD)
#undef BYRE_LIBNBD_LOAD
  BYRE_CHECK(library.result());
  return functions;
}

}  // namespace

Result<const LibNbd*> LibNbd::load() {
  static const Result<LibNbd> loaded = load_libnbd();
  if (!loaded) return std::unexpected(loaded.error());
  return &*loaded;
}

Error LibNbd::error(std::string_view what) const {
  const int number = nbd_get_errno();
  const char* words = nbd_get_error();
  const Error known = Error::from_errno(number != 0 ? number : 5, "");
  const std::string reason = words ? escape_untrusted(words, 512) : "no reason given";
  return Error(known.code(), fmt::format("{}: {}", what, reason), number);
}

}  // namespace byre
