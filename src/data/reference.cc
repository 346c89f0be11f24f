#include "data/reference.h"

#include <filesystem>

#include "base/text.h"

namespace byre {

Result<std::string> resolve_reference(std::string_view image_path, std::string_view name) {
  if (name.empty()) return fail(ErrorCode::refused, "the image names a backing file without a name");
  const auto colon = name.find(':');
  const auto slash = name.find('/');
  if (colon != std::string_view::npos && (slash == std::string_view::npos || colon < slash)) {
    return fail(ErrorCode::refused,
                "backing file '{}' is not a plain file name: protocols and pseudo-protocols inside an image are not "
                "followed (for a file of that name, './' in front of it makes it plain)",
                escape_untrusted(name));
  }
  if (name.front() == '/') return std::string(name);
  const auto directory_end = image_path.rfind('/');
  if (directory_end == std::string_view::npos) return std::string(name);
  return std::string(image_path.substr(0, directory_end + 1)) + std::string(name);
}

Result<std::unique_ptr<Storage>> open_reference(const std::string& path, const BackingPolicy& policy,
                                                const FileOptions& options) {
  if (!policy.below) return open_file(path, options);
  std::error_code error;
  const auto directory = std::filesystem::canonical(*policy.below, error);
  if (error) {
    return std::unexpected(Error::from_errno(error.value(), "backing directory '" + *policy.below + "'"));
  }
  // Links are not resolved here: whether one leads out is the kernel's to see when it opens the name.
  const auto parent = std::filesystem::canonical(std::filesystem::absolute(path).parent_path(), error);
  const auto relative = (parent / std::filesystem::path(path).filename()).lexically_relative(directory);
  if (error || relative.empty() || *relative.begin() == "..") {
    return fail(ErrorCode::refused, "backing file '{}' is not below the allowed directory '{}'", escape_untrusted(path),
                directory.string());
  }
  return open_file_below(directory.string(), relative.string(), options);
}

}  // namespace byre
