// What a name inside an image may lead to (SECURITY.md). The name is untrusted: it is a plain file name or nothing.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "byre/data/disk.h"

namespace byre {

// Where a backing name leads: relative names start at the directory of the image that names them (docs/format.md
// section 12). Error: refused, for a name with a protocol prefix ("nbd:", "json:", ...) and for an empty one.
Result<std::string> resolve_reference(std::string_view image_path, std::string_view name);

// Opens the resolved file read-only, as the policy allows. Only regular files and block devices are opened.
Result<std::unique_ptr<Storage>> open_reference(const std::string& path, const BackingPolicy& policy,
                                                const FileOptions& options);

}  // namespace byre
