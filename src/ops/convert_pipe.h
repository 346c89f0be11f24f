// What convert does where the source or the target is a stream.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "byre/data/disk.h"
#include "byre/ops/convert.h"
#include "format/header.h"

namespace byre::ops {

// The streams and the options go together, as far as that shows before a stream is looked at.
Result<void> check_pipe_options(const std::vector<NodeDescription>& sources, const ConvertOptions& options);

// The source that is a stream. Null: it is a raw one, whose length shows at its end; the options suit that.
Task<Result<std::unique_ptr<Disk>>> open_source_pipe(const ConvertOptions& options);

// What `created` holds is replaced by the raw stream, as a raw image.
Task<Result<void>> fill_raw_from_pipe(std::unique_ptr<Storage> created, const ConvertOptions& options);
// The same as a qcow2 image; `header` says what it will be, but for its size.
Task<Result<void>> write_new_image_from_pipe(Storage& target, format::Header header, const ConvertOptions& options);

Task<Result<void>> convert_to_pipe(std::vector<NodeDescription> sources, ConvertOptions options);

}  // namespace byre::ops
