// From image files to an image file: opens, checks, creates, copies, flushes, closes (docs/format.md C-26).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "byre/base/result.h"
#include "byre/data/disk.h"
#include "byre/ops/copy.h"
#include "byre/ops/create.h"
#include "byre/ops/node.h"
#include "byre/storage/pipe.h"

namespace byre {

// Where clusters lie in a new qcow2 image.
enum class Placement {
  compact,  // one behind the other, as they come
  stable,   // each at the place that follows from its guest offset, so that two versions of a disk make equal stretches
};

struct ConvertOptions {
  OpenOptions source;    // for every source, always read-only; its backing policy holds for the target too
  CreateOptions target;  // the size comes from the sources; without `create` only format and backing_file count
  bool create = true;    // false (-n): the target exists, keeps its options, and what it holds is replaced
  bool target_reads_zero = false;  // the caller promises it of a target that is not created
  CacheMode target_cache = CacheMode::writeback;
  // The internal snapshots of the one source, which is qcow2, are copied too, with ids, dates and VM states; what they
  // share in the source they share in the target, a new qcow2 image without backing file.
  bool all_snapshots = false;
  // What has been made so far is kept when the conversion fails or is cancelled, as NAME.partial, and gone on with if
  // it is there: everything is read and compressed again, compared with what is there, and what differs is written, so
  // that the result is that of a run that was not interrupted, whatever NAME.partial held. Not for targets written in
  // place.
  bool resume = false;
  // Compressed clusters with equal content are stored once (copy.compress). For a new qcow2 target without backing file
  // and preallocation, as is any placement but the compact one.
  bool deduplicate = false;
  Placement placement = Placement::compact;
  // A stream as the only source, whose name then counts for nothing: qcow2, if its tables come before what they map and
  // its data comes in the order of the guest, or raw, of any length. It is read to its end.
  std::shared_ptr<PipeReader> source_pipe;
  // A stream as the target: the image is written into it from front to back, header and tables first. A qcow2 image
  // stores clusters that have any data; with `search_zeros`, or compressed, the sources are read twice, and clusters of
  // zeros are left out. Equal sources make equal bytes.
  std::shared_ptr<Storage> target_pipe;
  bool search_zeros = false;
  CopyOptions copy;  // target_content is decided here: a target with backing_file is compared
};

// Judges the options alone, opening nothing. Errors (invalid_argument, unsupported) name the option and what would be
// right.
Result<void> check_convert_options(const std::vector<NodeDescription>& sources, const ConvertOptions& options);

// The target must be none of the files that the sources are made of, whatever name leads to it (refused); nothing is
// changed before that is known. A new target NAME is made as NAME.partial, beside it, and renamed when it is complete;
// it gets owner, mode and attributes of the file that it replaces, which is locked meanwhile. A failed or cancelled
// conversion leaves NAME as it was and no NAME.partial (but see `resume`).
//
// Written in place are devices, mount points, files of several names, of another user, with attributes that cannot be
// given away, in a directory that takes no file or reached through /proc, and what exists if `create` is false. A
// failed conversion leaves of them an empty file, or, if `create` is false, a consistent image with some of the
// content.
Task<Result<void>> convert_images(std::vector<NodeDescription> sources, NodeDescription target, ConvertOptions options);

}  // namespace byre
