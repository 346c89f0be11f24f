// Reading an image's metadata without the engine: the header and what it points to, within the format's limits and the
// file's length, each decoded by format/.
#pragma once

#include <string>
#include <vector>

#include "byre/base/result.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "format/bitmap_directory.h"
#include "format/header.h"
#include "format/luks_header.h"

namespace byre::ops {

// True if the storage starts like a qcow2 image.
Task<Result<bool>> has_qcow2_magic(Storage& storage);

// No valid bitmaps: empty.
Task<Result<std::vector<format::BitmapEntry>>> read_bitmap_directory(Storage& storage, const format::Header& header);

// Of an image whose header has an encryption pointer.
Task<Result<format::LuksHeader>> read_luks_header(Storage& storage, const format::Header& header);

}  // namespace byre::ops
