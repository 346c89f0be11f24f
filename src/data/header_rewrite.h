// Replaces the header of an image by another one, so that a crash at any moment leaves the old or the new one (O-29).
#pragma once

#include "byre/base/result.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "format/header.h"

namespace byre {

// `now` is what decode_header() made of the storage. Where the new header needs more than a cluster its feature names,
// which are for people only, are left out. Durable when it returns. After an error the header is the old or the new
// one. Errors: no_space (names and extensions do not fit into the first cluster, also while they are being replaced),
// invalid_argument (a field of `next`), I/O.
Task<Result<void>> replace_header(Storage& storage, const format::Header& now, format::Header next);

// Whether that is possible. Changes nothing.
Task<Result<void>> check_header_replacement(Storage& storage, const format::Header& now, format::Header next);

}  // namespace byre
