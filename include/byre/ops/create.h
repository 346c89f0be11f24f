// Making new images (docs/format.md sections 2, 3.6 and 18, Appendix B, C-23).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "byre/base/result.h"
#include "byre/data/disk.h"
#include "byre/ops/node.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"

namespace byre {

enum class Compression { zlib, zstd };

struct CreateOptions {
  std::string format = "qcow2";             // "qcow2" or "raw"
  std::optional<std::uint64_t> size_bytes;  // rounded up to 512; none: that of the backing file
  Preallocation preallocation = Preallocation::off;

  // qcow2 only.
  unsigned version = 3;
  std::uint64_t cluster_size_bytes = 65536;  // a power of two, 512 to 2 MiB
  unsigned refcount_bits = 16;               // a power of two up to 64; version 2: 16
  bool lazy_refcounts = false;
  Compression compression = Compression::zlib;
  std::optional<std::string> backing_file;    // as stored: relative to the image's directory
  std::optional<std::string> backing_format;  // mandatory with backing_file
  bool open_backing = true;                   // false (-u): store the name unseen; then the size is mandatory

  // Hints for the host's file system, accepted for compatibility; without effect.
  bool nocow = false;
  std::optional<std::uint64_t> extent_size_hint_bytes;
};

// Judges the options alone, opening nothing. Errors (invalid_argument, unsupported) name the option and what would be
// right. A size that is still missing is no error here.
Result<> check_create_options(const CreateOptions& options);

// Does everything that comes before the first change: checks the options, opens the backing file read-only (unless
// open_backing is off), takes the size from it where none was given, and makes sure that the image at `path` is not a
// part of its own backing chain. Returns the options with the size filled in and rounded.
Task<Result<CreateOptions>> prepare_create(std::string path, CreateOptions options);

// Makes the image, after prepare_create(), and returns what it was made in, open and locked. An existing file is
// overwritten once it is locked; a file in use is left alone (locked). After a failure a new file is removed and an old
// one is left empty. Durable on return, but for a cache mode that never waits. What is described otherwise than by
// a path is overwritten as it is, if it lies in no file (an export of an NBD server); else that is refused
// (unsupported).
Task<Result<std::unique_ptr<Storage>>> create_image(NodeDescription target, CreateOptions options, CacheMode cache);

// Makes a qcow2 image in any storage; its former content is lost. The size is mandatory, the backing file is not looked
// at. The header is written last, after everything it points to is durable: until the call succeeds the storage holds
// no image. Ends flushed.
Task<Result<void>> create_qcow2(Storage& storage, CreateOptions options);

// The line that `create` prints: "Formatting 'a.qcow2', fmt=qcow2 cluster_size=65536 ...". Names are escaped.
std::string formatting_line(const std::string& path, const CreateOptions& options);

}  // namespace byre
