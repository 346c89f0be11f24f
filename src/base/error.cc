#include "byre/base/error.h"

#include <cerrno>
#include <system_error>

#include "base/text.h"

namespace byre {

namespace {
constexpr std::size_t longest_name_bytes = 4096;  // no path that can be opened is longer
}  // namespace

std::string_view error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument: return "invalid-argument";
    case ErrorCode::not_found: return "not-found";
    case ErrorCode::refused: return "refused";
    case ErrorCode::unsupported: return "unsupported";
    case ErrorCode::corrupt: return "corrupt";
    case ErrorCode::locked: return "locked";
    case ErrorCode::no_space: return "no-space";
    case ErrorCode::io: return "io";
    case ErrorCode::cancelled: return "cancelled";
  }
  return "io";
}

Error Error::from_errno(int errno_value, std::string_view what) {
  ErrorCode code = ErrorCode::io;
  if (errno_value == ENOSPC || errno_value == EDQUOT || errno_value == EFBIG) code = ErrorCode::no_space;
  if (errno_value == ENOENT) code = ErrorCode::not_found;
  if (errno_value == EACCES || errno_value == EPERM || errno_value == EROFS) code = ErrorCode::refused;
  std::string message(what);
  message += ": ";
  message += std::generic_category().message(errno_value);
  return Error(code, std::move(message), errno_value);
}

Error Error::with_context(std::string_view context) && {
  std::string message(context);
  message += ": ";
  if (message_.starts_with(message)) return std::move(*this);
  message += message_;
  message_ = std::move(message);
  return std::move(*this);
}

Error Error::in_file(std::string_view path) && {
  if (file_.empty()) file_ = path;
  return std::move(*this).with_context(escape_untrusted(path, longest_name_bytes));
}

Error Error::with_remark(std::string_view remark) && {
  message_ += "; ";
  message_ += remark;
  return std::move(*this);
}

}  // namespace byre
