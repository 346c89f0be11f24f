// The sum of the parts that a full image would have; "required" leaves out the data clusters that the source does not
// need, yet keeps the whole metadata, as other tools count.
#include "byre/ops/measure.h"

#include <algorithm>
#include <bit>

#include "base/math.h"
#include "base/text.h"
#include "byre/ops/info.h"
#include "format/bitmap_directory.h"
#include "format/geometry.h"
#include "format/limits.h"
#include "ops/layout.h"

namespace byre {

namespace {

constexpr std::uint64_t bitmap_entry_bytes = 24;  // without its name
constexpr std::uint64_t status_step_bytes = std::uint64_t{1} << 40;

format::Geometry geometry_of(const MeasureTarget& target) {
  format::Geometry geometry;
  geometry.version = target.options.version;
  geometry.cluster_bits = static_cast<unsigned>(std::countr_zero(target.options.cluster_size_bytes));
  geometry.refcount_order = static_cast<unsigned>(std::countr_zero(target.options.refcount_bits));
  geometry.extended_l2 = target.extended_l2;
  return geometry;
}

Result<> check_target(const MeasureTarget& target) {
  BYRE_CHECK(check_create_options(target.options));
  if (!target.extended_l2) return {};
  if (target.options.version < 3) return fail(ErrorCode::invalid_argument, "extended_l2=on needs compat=1.1");
  const std::uint64_t smallest = std::uint64_t{1} << format::min_cluster_bits_extended_l2;
  if (target.options.cluster_size_bytes >= smallest) return {};
  return fail(ErrorCode::invalid_argument, "extended_l2=on needs a cluster_size of at least {}", smallest);
}

bool reserves_everything(const CreateOptions& options) {
  return options.preallocation == Preallocation::falloc || options.preallocation == Preallocation::full;
}

Result<Measurement> measure(std::uint64_t size_bytes, std::uint64_t data_clusters, const MeasureTarget& target) {
  MeasureTarget sized = target;
  sized.options.size_bytes = size_bytes;
  BYRE_CHECK(check_target(sized));
  size_bytes = round_up(size_bytes, format::sector_bytes);
  Measurement result;
  if (target.options.format == "raw") {
    result.required_bytes = result.fully_allocated_bytes = size_bytes;
    return result;
  }
  const format::Geometry geometry = geometry_of(target);
  const std::uint64_t extra = geometry.clusters_for(target.encryption_area_bytes);
  const ops::Layout layout = ops::plan_layout(geometry, size_bytes, ops::LayoutScope::full_disk, extra);
  BYRE_CHECK(ops::check_layout(layout));
  if (reserves_everything(target.options)) data_clusters = layout.data;
  result.fully_allocated_bytes = layout.total_bytes();
  result.required_bytes = layout.metadata_bytes() + layout.bytes_of(data_clusters);
  return result;
}

Task<Result<std::uint64_t>> count_data_clusters(Disk& source, std::uint64_t cluster_size_bytes) {
  std::uint64_t count = 0;
  std::uint64_t counted_to = 0;  // end of the last cluster that counted
  for (std::uint64_t at = 0; at < source.size_bytes();) {
    const std::uint64_t limit = std::min(source.size_bytes() - at, status_step_bytes);
    BYRE_CO_TRY(const BlockStatus status, co_await source.status(at, limit));
    const std::uint64_t end = at + status.length_bytes;
    if (status.data && !status.zero && end > counted_to) {
      const std::uint64_t first = std::max(round_down(at, cluster_size_bytes), counted_to);
      const std::uint64_t last = round_up(end, cluster_size_bytes);
      count += (last - first) / cluster_size_bytes;
      counted_to = last;
    }
    at = end;
  }
  co_return count;
}

// Directory, tables and data, each rounded up to clusters of the target. Inconsistent bitmaps are not copied.
std::uint64_t bitmaps_size(const std::vector<BitmapInfo>& bitmaps, std::uint64_t disk_bytes,
                           const format::Geometry& geometry) {
  std::uint64_t directory_bytes = 0;
  std::uint64_t clusters = 0;
  for (const BitmapInfo& bitmap : bitmaps) {
    if (bitmap.in_use) continue;
    const auto granularity_bits = static_cast<unsigned>(std::countr_zero(bitmap.granularity_bytes));
    const std::uint64_t data = format::required_bitmap_table_entries(geometry, disk_bytes, granularity_bits);
    clusters += data + geometry.clusters_for(data * 8);
    directory_bytes += round_up(bitmap_entry_bytes + bitmap.name.size(), 8);
  }
  return (clusters + geometry.clusters_for(directory_bytes)) << geometry.cluster_bits;
}

}  // namespace

Result<Measurement> measure_size(std::uint64_t size_bytes, const MeasureTarget& target) {
  return measure(size_bytes, 0, target);
}

Task<Result<Measurement>> measure_disk(Disk& source, MeasureTarget target) {
  BYRE_CO_CHECK(check_target(target));
  const bool is_qcow2 = target.options.format == "qcow2";
  std::uint64_t data_clusters = 0;
  if (is_qcow2) {
    BYRE_CO_TRY(data_clusters, co_await count_data_clusters(source, target.options.cluster_size_bytes));
    // On top of a backing file, zeros may have to be stored as well.
    if (target.options.backing_file) data_clusters = geometry_of(target).clusters_for(source.size_bytes());
  }
  BYRE_CO_TRY(Measurement result, measure(source.size_bytes(), data_clusters, target));
  if (!is_qcow2 || target.options.version < 3 || source.format() != "qcow2") co_return result;
  InfoOptions info_options;
  info_options.format = "qcow2";
  BYRE_CO_TRY(const ImageInfo info, co_await image_info(source.storage(), info_options));
  if (info.qcow2->version < 3) co_return result;
  result.bitmaps_bytes = bitmaps_size(info.qcow2->bitmaps, source.size_bytes(), geometry_of(target));
  co_return result;
}

}  // namespace byre
