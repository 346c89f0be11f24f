#include "byre/check/check.h"

namespace byre {

Task<Result<CheckReport>> check_image(Storage&, CheckOptions) {
  co_return std::unexpected(Error(ErrorCode::unsupported, "check is not there yet"));
}

}  // namespace byre
