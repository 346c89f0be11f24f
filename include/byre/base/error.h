// What went wrong, in a form that a program can branch on and a person can read.
#pragma once

#include <string>
#include <string_view>

namespace byre {

// Categories are stable: programs may branch on them.
enum class ErrorCode {
  invalid_argument,  // the request itself is wrong (range, alignment, option)
  not_found,         // a file, snapshot or option name does not exist
  refused,           // a policy forbids it (untrusted reference, read-only handle)
  unsupported,       // valid, but not done by this build, engine or format version
  corrupt,           // the image breaks a rule of its format
  locked,            // another process uses the file
  no_space,          // the host file, the format's limit or a quota is exhausted
  io,                // a system call failed; see errno_value()
  cancelled,         // the caller asked to stop
};

// Returns the category's name, with hyphens ("no-space"): as stable as the category (docs/errors.md).
std::string_view error_code_name(ErrorCode code);

// A value: category, errno (0 where none applies), the file it is about, and a message that grows outwards: each layer
// that knows more puts its own words in front ("a.qcow2: L2 table at 0x50000: Input/output error").
class Error {
 public:
  Error(ErrorCode code, std::string message, int errno_value = 0)
      : code_(code), errno_value_(errno_value), message_(std::move(message)) {}

  // Builds "<what>: <strerror>" and picks the category from errno (ENOSPC, EDQUOT and EFBIG are no_space).
  static Error from_errno(int errno_value, std::string_view what);

  ErrorCode code() const { return code_; }
  int errno_value() const { return errno_value_; }
  const std::string& message() const { return message_; }
  // As it was opened, not escaped; empty where none is known.
  const std::string& file() const { return file_; }

  // Prepends "<context>: " to the message, unless it begins so already: a layer below may have named the same file.
  Error with_context(std::string_view context) &&;
  // The same with the name of a file, escaped, which is recorded unless a layer below has recorded one: that is where
  // it went wrong.
  Error in_file(std::string_view path) &&;
  // Appends "; <remark>".
  Error with_remark(std::string_view remark) &&;

 private:
  ErrorCode code_;
  int errno_value_;
  std::string message_;
  std::string file_;
};

}  // namespace byre
