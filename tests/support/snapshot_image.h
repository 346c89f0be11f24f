// Gives an image in memory an internal snapshot, as an outside tool would: the engine cannot make one itself.
#pragma once

#include <string>
#include <vector>

namespace byre::test {

// Appends an L1 copy and a snapshot table, counts every reference once more and clears COPIED in the active tables
// (docs/format.md section 14.3). The image must be clean and its refcount width must allow the counts; false if not,
// with the image as it was.
bool add_snapshot(std::vector<std::byte>& image, const std::string& id);

}  // namespace byre::test
