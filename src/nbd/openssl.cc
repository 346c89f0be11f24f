#include "nbd/openssl.h"

#include "base/shared_library.h"
#include "base/text.h"

namespace byre::nbd {
namespace {

Result<OpenSsl> load_functions() {
  BYRE_TRY(SharedLibrary library, SharedLibrary::load("libssl.so.3", "TLS needs OpenSSL 3"));
  OpenSsl functions;
#define BYRE_OPENSSL_LOAD(name) library.find(functions.name, #name);
  BYRE_OPENSSL_FUNCTIONS(BYRE_OPENSSL_LOAD)
#undef BYRE_OPENSSL_LOAD
  BYRE_CHECK(library.result());
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
