// The persistent bitmaps of an image as its opening judges them (docs/format.md section 15). The engine does not use
// them; it must know what is theirs, and refuse what it cannot understand.
#pragma once

#include <vector>

#include "byre/base/result.h"
#include "byre/base/units.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "format/bitmap_directory.h"
#include "format/header.h"

namespace byre {

struct Bitmaps {
  std::vector<format::BitmapEntry> entries;
  std::vector<HostOffset> data;  // every cluster that a table names, in no order, perhaps more than once
};

// Without valid bitmaps: empty. Errors: the directory (H-45), or the table of a bitmap that is not in use (H-46), is
// malformed, or the tables together are longer than the limit (H-4). What in-use tables say is taken where it makes
// sense: nobody relies on them.
Task<Result<Bitmaps>> read_bitmaps(Storage& storage, const format::Header& header);

}  // namespace byre
