// A library that is loaded when it is first needed, so that a start of the tool pays nothing for it. It stays loaded:
// what it registers at its start cannot be taken back in good order, and other threads may use it.
#pragma once

#include <string>
#include <string_view>

#include "byre/base/result.h"

namespace byre {

class SharedLibrary {
 public:
  // `purpose` begins the messages: "TLS needs OpenSSL 3". Errors (unsupported): it is not here.
  static Result<SharedLibrary> load(const char* file_name, std::string_view purpose);

  // Sets a pointer to the function of that name; where there is none, result() tells.
  template <class Function>
  void find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(address_of(name));
  }

  // Errors (unsupported): a function that was looked for is not in it.
  Result<> result() const;

 private:
  SharedLibrary(void* handle, std::string file_name, std::string purpose)
      : handle_(handle), file_name_(std::move(file_name)), purpose_(std::move(purpose)) {}
  void* address_of(const char* name);

  void* handle_;
  std::string file_name_;
  std::string purpose_;
  std::string missing_;
};

}  // namespace byre
