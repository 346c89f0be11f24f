// The library stays loaded: connections of other loops may use it.
#include "storage/libnbd_functions.h"

#include <dlfcn.h>

#include "base/text.h"

namespace byre {
namespace {

constexpr const char* libnbd_name = "libnbd.so.0";

Result<LibNbd> load_libnbd() {
  void* library = ::dlopen(libnbd_name, RTLD_NOW | RTLD_LOCAL);
  if (!library) return fail(ErrorCode::unsupported, "an NBD client needs libnbd, which is not here: {}", ::dlerror());
  LibNbd functions;
  const char* missing = nullptr;
#define BYRE_LIBNBD_LOAD(name)                                                          \
  functions.name = reinterpret_cast<decltype(functions.name)>(::dlsym(library, #name)); \
  if (!functions.name) missing = #name;
  BYRE_LIBNBD_FUNCTIONS(BYRE_LIBNBD_LOAD)
#undef BYRE_LIBNBD_LOAD
  if (missing) return fail(ErrorCode::unsupported, "an NBD client needs libnbd; {} has no {}", libnbd_name, missing);
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
