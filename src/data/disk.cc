// What a disk does unless it knows better.

#include "byre/data/disk.h"

#include "base/text.h"

namespace byre {

Task<Result<void>> Disk::clone(std::uint64_t, std::uint64_t, std::span<const ClonePiece>) {
  co_return fail(ErrorCode::unsupported, "{}: this disk cannot share blocks with files",
                 escape_untrusted(storage().name(), 4096));
}

}  // namespace byre
