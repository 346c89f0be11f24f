// Files and block devices of the host (docs/format.md Appendix C for the locks).
//
// A file is opened once by its name; what was opened is checked, locked and kept, and is never looked up again.
// The implementation follows the loop: io_uring if EventLoop::current() runs on a ring, blocking calls in threads else.
// A file must be used and destroyed on the loop on which it was opened, and destroyed with no call under way.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "byre/storage/storage.h"

namespace byre {

// What the host's page cache and flush() do.
//                 page cache   a write is durable
enum class CacheMode {
  writeback,     // used         after flush()
  none,          // bypassed     after flush()
  writethrough,  // used         when it completes
  directsync,    // bypassed     when it completes
  unsafe,        // used         some time: flush() does nothing. For images that are thrown away on a crash
};

enum class Locking {
  enforced,     // take the image locks; fail with ErrorCode::locked if another opener's do not agree
  force_share,  // read-only: take no lock that hinders others, and read although another may be writing
};

enum class DiscardMode {
  unmap,   // punch() and zero(may_unmap) give host space back
  ignore,  // they never do: punch() does nothing, zero() keeps the space
};

struct FileOptions {
  bool writable = false;
  bool create = false;  // make the file (`mode` less the umask) if it does not exist; needs `writable`
  unsigned mode = 0644;
  bool exclusive = false;  // with `create`: fail if it exists
  bool truncate = false;   // cut it to size 0, once the locks are held; needs `writable`; no effect on a device
  CacheMode cache = CacheMode::writeback;
  Locking locking = Locking::enforced;
  DiscardMode discard = DiscardMode::unmap;
};

// Opens a regular file or a block device. Whatever else the name leads to (FIFO, socket, directory, character device)
// is refused without waiting for it. Symbolic links are followed. Blocks: opening is not a loop's business.
// Errors: not_found, refused, locked, invalid_argument (options, kind of file), unsupported (cache mode), io.
Result<std::unique_ptr<Storage>> open_file(std::string path, FileOptions options);

// The same, but the name must lead to a place below `directory`: no absolute name, no "..", no symbolic link or mount
// trick that leaves it, whatever happens to the tree meanwhile (openat2 RESOLVE_BENEATH). Where the kernel cannot
// promise that, everything is refused. `relative_name` may come from an image: messages escape it.
Result<std::unique_ptr<Storage>> open_file_below(const std::string& directory, std::string_view relative_name,
                                                 FileOptions options);

// The name that a cache mode has on the command line, and back (nothing for an unknown name).
std::string_view cache_mode_name(CacheMode mode);
std::optional<CacheMode> parse_cache_mode(std::string_view name);

}  // namespace byre
