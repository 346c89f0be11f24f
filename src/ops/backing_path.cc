#include "ops/backing_path.h"

namespace byre::ops {

std::string backing_path(std::string_view image_path, std::string_view backing_name) {
  const std::size_t slash = image_path.rfind('/');
  if (backing_name.starts_with('/') || slash == std::string_view::npos) return std::string(backing_name);
  return std::string(image_path.substr(0, slash + 1)).append(backing_name);
}

}  // namespace byre::ops
