// Where the name of a backing file leads (FORMAT.md section 12): a plain file name, relative to the directory of the
// image that names it.
#pragma once

#include <string>
#include <string_view>

namespace byre::ops {

// Joins textually, without asking the file system: "d/top.qcow2" and "../base.raw" give "d/../base.raw".
std::string backing_path(std::string_view image_path, std::string_view backing_name);

}  // namespace byre::ops
