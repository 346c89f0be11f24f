// Judging where an untrusted field says that a table is (docs/format.md H-13 to H-15).
#pragma once

#include <cstdint>
#include <string_view>

#include "byre/base/result.h"
#include "byre/base/units.h"
#include "format/geometry.h"

namespace byre::format {

// A multiple of the cluster size, below 2^63.
Result<> check_table_alignment(std::string_view name, HostOffset offset, const Geometry& geometry);
// Aligned, behind the header cluster, and in clusters that the file has: only its last cluster may be partial.
// Any values are safe to pass.
Result<> check_table_region(std::string_view name, HostOffset offset, std::uint64_t size_bytes,
                            const Geometry& geometry, std::uint64_t file_size_bytes);

}  // namespace byre::format
