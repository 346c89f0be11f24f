// How stretches of an export read, in the terms of the metadata contexts.
#pragma once

#include <vector>

#include "nbd/export.h"
#include "nbd/protocol.h"

namespace byre::nbd {

// From `offset_bytes` on, for each context a list of at least one extent; neighbours differ. Together they are at most
// `length_bytes` (above 0) long, and shorter where that would take long. With `one`, each list has a single extent.
Task<Result<std::vector<std::vector<Extent>>>> find_extents(const DiskPart& part, const std::vector<Context>& contexts,
                                                            std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                                            bool one);

}  // namespace byre::nbd
