// The layout of an image as a picture: the disk, its file, and where the one lies in the other.
#pragma once

#include <string>

#include "byre/ops/image_layout.h"

namespace byre::cli {

// A whole SVG document. `title` is text that may come from anywhere.
std::string draw_layout(const ImageLayout& layout, const std::string& title);

}  // namespace byre::cli
