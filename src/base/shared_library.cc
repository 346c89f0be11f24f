#include "base/shared_library.h"

#include <dlfcn.h>

#include "base/text.h"

namespace byre {

Result<SharedLibrary> SharedLibrary::load(const char* file_name, std::string_view purpose) {
  void* const handle = ::dlopen(file_name, RTLD_NOW | RTLD_LOCAL);
  if (!handle) return fail(ErrorCode::unsupported, "{}, which is not here: {}", purpose, ::dlerror());
  return SharedLibrary(handle, file_name, std::string(purpose));
}

void* SharedLibrary::address_of(const char* name) {
  void* const address = ::dlsym(handle_, name);
  if (!address) missing_ = name;
  return address;
}

Result<> SharedLibrary::result() const {
  if (missing_.empty()) return {};
  return fail(ErrorCode::unsupported, "{}; {} has no {}", purpose_, file_name_, missing_);
}

}  // namespace byre
