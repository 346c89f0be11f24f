// What opening decides about a storage before anything is loaded.
#pragma once

#include <string>

#include "byre/data/disk.h"
#include "format/header.h"

namespace byre {

// "qcow2" or "raw": as the options say, or by the first bytes, which is refused for a raw file to be written.
Task<Result<std::string>> decide_format(Storage& storage, const OpenOptions& options);

// What the header allows but this engine does not do (yet).
Result<void> check_supported(const format::Header& header, bool writable);

}  // namespace byre
