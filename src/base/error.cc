#include "byre/base/error.h"

#include <cerrno>
#include <system_error>

namespace byre {

std::string_view error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument: return "invalid_argument";
    case ErrorCode::not_found: return "not_found";
    case ErrorCode::refused: return "refused";
    case ErrorCode::unsupported: return "unsupported";
    case ErrorCode::corrupt: return "corrupt";
    case ErrorCode::locked: return "locked";
    case ErrorCode::no_space: return "no_space";
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

}  // namespace byre
