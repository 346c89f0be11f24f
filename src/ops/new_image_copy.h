// Copies into new qcow2 images that are written from front to back (data/image_writer.h): what convert does where
// nothing shows through the new image and nothing of it has a place yet, and what measures it.
#pragma once

#include <memory>
#include <vector>

#include "byre/base/result.h"
#include "byre/ops/convert.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "data/write_only_disk.h"
#include "format/header.h"

namespace byre::ops {

// A new qcow2 image without backing file and preallocation.
bool is_written_in_one_go(const ConvertOptions& options);

// The header of the image that prepare_create() has prepared.
Task<Result<format::Header>> new_image_header(CreateOptions options);

// Whether disks and options suit the wish for all snapshots: one qcow2 source, whose snapshots the target's version can
// have. Errors: unsupported.
Task<Result<void>> check_states(std::vector<Disk*> sources, const ConvertOptions& options);

// Judges the options alone: whether deduplication and placement suit the rest. Errors: invalid_argument, unsupported.
Result<void> check_new_image_options(const ConvertOptions& options);

// Whether the image that options and size ask for can be made, as far as it is known before. Errors: unsupported (no
// library to hash with), invalid_argument (its tables are above the limits).
Result<void> check_new_image(std::uint64_t size_bytes, const ConvertOptions& options);

// The disk that makes the image as the options say; `target` must outlive it.
Result<std::unique_ptr<WriteOnlyDisk>> make_new_image_disk(Storage& target, format::Header header,
                                                           const ConvertOptions& options);

// What `target` holds is lost; `header` says what the image will be, its size included. Of `options` count copy,
// all_snapshots, deduplicate and placement. Errors: those of copy_disks() and copy_states(); then the target holds no
// image.
Task<Result<void>> write_new_image(std::vector<Disk*> sources, Storage& target, format::Header header,
                                   const ConvertOptions& options);

}  // namespace byre::ops
