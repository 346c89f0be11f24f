// Making images in files that are open already.
#pragma once

#include "byre/ops/create.h"

namespace byre::ops {

// Makes the image that prepare_create() has prepared in a storage of size 0. Ends flushed.
Task<Result<void>> fill_empty_file(Storage& storage, CreateOptions options);

}  // namespace byre::ops
