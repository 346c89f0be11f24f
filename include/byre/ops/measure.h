// How long the file of a new image would be (docs/format.md section 18 "Size estimate", C-17, C-18).
#pragma once

#include <cstdint>
#include <optional>

#include "byre/base/result.h"
#include "byre/data/disk.h"
#include "byre/ops/convert.h"
#include "byre/ops/create.h"
#include "byre/task/task.h"

namespace byre {

struct Measurement {
  std::uint64_t required_bytes = 0;            // with the data that is there now
  std::uint64_t fully_allocated_bytes = 0;     // once every cluster is written
  std::optional<std::uint64_t> bitmaps_bytes;  // in addition, if the source's bitmaps are copied too
};

// What the new image will be. The features that Byre does not create yet can be measured all the same.
struct MeasureTarget {
  CreateOptions options;  // its size is ignored
  bool extended_l2 = false;
  std::uint64_t encryption_area_bytes = 0;  // of a LUKS image
};

// A disk of that size that holds nothing. Errors: invalid_argument, for options and sizes that cannot be created.
Result<Measurement> measure_size(std::uint64_t size_bytes, const MeasureTarget& target);

// A copy of `source`: walks the status of the whole disk, without reading data.
Task<Result<Measurement>> measure_disk(Disk& source, MeasureTarget target);

// To the byte, how long the file is that convert_images() makes of `source` with the same options, of a target that it
// creates: reads and compresses whatever the copy would, and writes nothing. Unless copy.reflink is `never` blocks are
// taken to be shared as far as the options allow, which depends on where the target will be. Errors: unsupported (a
// backing file of the target), those of check_convert_options(), of the disk, and of the copy, cancelled.
Task<Result<std::uint64_t>> measure_exactly(Disk& source, ConvertOptions options);

}  // namespace byre
