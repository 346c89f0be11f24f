// Works in whole clusters, so that no sum of untrusted bytes can wrap.
#include "format/region.h"

#include "base/text.h"

namespace byre::format {

Result<> check_table_alignment(std::string_view name, HostOffset offset, const Geometry& geometry) {
  if (offset.bytes > max_file_offset) {
    return fail(ErrorCode::corrupt, "{} at {:#x} lies beyond any file (offsets are below 2^63)", name, offset.bytes);
  }
  if (!geometry.is_cluster_aligned(offset.bytes)) {
    return fail(ErrorCode::corrupt, "{} at {:#x} is not at a multiple of the cluster size {}", name, offset.bytes,
                geometry.cluster_size_bytes());
  }
  return {};
}

Result<> check_table_region(std::string_view name, HostOffset offset, std::uint64_t size_bytes,
                            const Geometry& geometry, std::uint64_t file_size_bytes) {
  BYRE_CHECK(check_table_alignment(name, offset, geometry));
  if (offset.bytes == 0) return fail(ErrorCode::corrupt, "{} lies at offset 0, upon the header", name);
  if (!fits_within(geometry.cluster_index(offset), geometry.clusters_for(size_bytes),
                   geometry.clusters_for(file_size_bytes))) {
    return fail(ErrorCode::corrupt, "{} at {:#x} with {} bytes reaches beyond the end of the file ({} bytes)", name,
                offset.bytes, size_bytes, file_size_bytes);
  }
  return {};
}

}  // namespace byre::format
