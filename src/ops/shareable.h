// Which files of a copy's sources can share their blocks with the target.
#pragma once

#include <cstdint>
#include <set>

#include "byre/base/result.h"
#include "byre/ops/copy.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "ops/image_sequence.h"

namespace byre::ops {

// Whether the options leave anything to be shared.
bool may_share(const CopyOptions& options);

// Whether sizes allow it: clusters are no smaller than blocks, and each source begins where a cluster of the target
// does (a block of a raw one, whose `cluster_bytes` are 0). Errors: unsupported; they name the file and the reason.
Result<void> check_shareable_sizes(const ImageSequence& sources, const Storage& target, std::uint64_t cluster_bytes);

// Tries each file once (try_clone()). With `all_must` the first that cannot be shared is an error, otherwise it is left
// out.
Task<Result<std::set<const Storage*>>> find_shareable(const ImageSequence& sources, Storage& target, bool all_must);

}  // namespace byre::ops
