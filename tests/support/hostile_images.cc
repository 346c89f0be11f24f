// Joins the parts of the collection, and gives its members names.

#include "support/hostile_images.h"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>

namespace byre::test {

std::string HostileImage::file_name() const {
  std::string text = fmt::format("h{:02}-{}", rule, name);
  std::ranges::replace(text, ' ', '_');
  return text;
}

std::vector<HostileImage> hostile_images() {
  std::vector<HostileImage> all;
  for (const auto part :
       {hostile_headers, hostile_names, hostile_tables, hostile_compressed, hostile_snapshots, hostile_bitmaps}) {
    std::vector<HostileImage> images = part();
    std::ranges::move(images, std::back_inserter(all));
  }
  return all;
}

}  // namespace byre::test
