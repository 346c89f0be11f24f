// The library stays loaded: what it registers at its start cannot be taken back in good order.

#include "nbd/openssl.h"

#include <dlfcn.h>

#include "base/text.h"

namespace byre::nbd {
namespace {

constexpr const char* library_name = "libssl.so.3";

Result<OpenSsl> load_functions() {
  void* library = ::dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
  if (!library) return fail(ErrorCode::unsupported, "TLS needs OpenSSL 3, which is not here: {}", ::dlerror());
  OpenSsl functions;
  const char* missing = nullptr;
#define BYRE_OPENSSL_LOAD(name)                                                         \
  functions.name = reinterpret_cast<decltype(functions.name)>(::dlsym(library, #name)); \
  if (!functions.name) missing = #name;
  BYRE_OPENSSL_FUNCTIONS(BYRE_OPENSSL_LOAD)
#undef BYRE_OPENSSL_LOAD
  if (missing) return fail(ErrorCode::unsupported, "TLS needs OpenSSL 3; {} has no {}", library_name, missing);
  return functions;
}

}  // namespace

Result<const OpenSsl*> OpenSsl::load() {
  static const Result<OpenSsl> loaded = load_functions();
  if (!loaded) return std::unexpected(loaded.error());
  return &*loaded;
}

Error OpenSsl::error(ErrorCode code, std::string_view what) const {
  const char* reason = ERR_reason_error_string(ERR_get_error());
  ERR_clear_error();
  return Error(code, reason ? fmt::format("{}: {}", what, reason) : std::string(what));
}

}  // namespace byre::nbd
