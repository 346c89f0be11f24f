// Checking and repairing image files by name (docs/format.md C-6 to C-11). What is done to the image is in
// byre/check/check.h.
#pragma once

#include <optional>
#include <string>

#include "byre/check/check.h"
#include "byre/ops/node.h"
#include "byre/storage/file.h"

namespace byre {

struct CheckFileOptions {
  std::optional<std::string> format;  // "qcow2" or "raw"; none: told by the first bytes
  bool force_share = false;           // skip locks; without a repair only
  CacheMode cache = CacheMode::writeback;
  CheckOptions check;                    // its `undo` is not used
  std::optional<std::string> undo_path;  // of a new file, with a repair
};

// Opens the image (for writing with a repair), checks it and closes it. Nothing: the format, raw, has no check. Errors:
// those of open_file() and check_image(); an undo file that exists already (invalid_argument).
Task<Result<std::optional<CheckReport>>> check_file(NodeDescription node, CheckFileOptions options);

// apply_undo() by names.
Task<Result<void>> undo_check(std::string path, std::string undo_path);

}  // namespace byre
