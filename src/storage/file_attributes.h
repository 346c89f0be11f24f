// What a file has beside its content.
#pragma once

namespace byre {

// Gives the file `to` the owner, group, mode, access list and other extended attributes of `from`, as far as the latter
// are not for the system alone to judge. Both are descriptors of regular files, on one file system. False if that is
// not allowed or cannot be done; then `to` has some of them, and no more rights than before or than `from`.
bool take_over_attributes(int from, int to);

}  // namespace byre
