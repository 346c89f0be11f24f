// The header decides what there is. A refcount table or snapshot table that cannot be used is a finding, not the end:
// the first can be built anew, and of the second a repair keeps what can be read.

#include "check/image.h"

#include <algorithm>

#include "base/endian.h"
#include "base/math.h"
#include "base/text.h"
#include "check/bitmaps.h"
#include "check/snapshots.h"
#include "format/limits.h"
#include "format/region.h"

namespace byre::check {
namespace {

Task<Result<format::Header>> read_header(Storage& storage) {
  const std::uint64_t file_size = storage.size_bytes();
  Buffer start(std::min<std::uint64_t>(file_size, std::uint64_t{1} << format::max_cluster_bits));
  const Bytes peek = start.bytes().first(std::min<std::size_t>(start.size(), format::header_peek_bytes));
  BYRE_CO_CHECK(co_await read_exactly(storage, 0, peek));
  BYRE_CO_TRY(const unsigned cluster_bits, format::peek_cluster_bits(peek));
  const Bytes cluster = start.bytes().first(std::min<std::size_t>(start.size(), std::size_t{1} << cluster_bits));
  BYRE_CO_CHECK(co_await read_exactly(storage, 0, cluster));
  co_return format::decode_header(cluster, file_size, format::HeaderUse::repair);
}

void report_refcount_table(Findings& findings, const format::Header& header, const std::string& fault) {
  Finding finding;
  finding.text = "ERROR " + fault;
  finding.meaning = "No count can be trusted; guest data can be read, but must not be written before a repair.";
  finding.host_offset_bytes = header.refcount_table.bytes;
  findings.report(finding);
}

Task<Result<void>> read_refcount_table(Storage& storage, Image& image, Findings& findings) {
  const format::Header& header = image.header;
  const std::uint64_t bytes = std::uint64_t{header.refcount_table_clusters} << header.cluster_bits;
  auto usable =
      format::check_table_region("refcount table", header.refcount_table, bytes, image.geometry, image.file_size_bytes);
  if (usable && bytes == 0) usable = fail(ErrorCode::corrupt, "the image has no refcount table");
  if (!usable) {
    report_refcount_table(findings, header, usable.error().message());
    co_return Result<void>{};
  }
  image.refcount_table_usable = true;
  image.regions.push_back({Owner::refcount_table, header.refcount_table, bytes});
  BYRE_CO_TRY(image.refcount_table, co_await read_words(storage, header.refcount_table, bytes / 8));
  co_return Result<void>{};
}

}  // namespace

std::string_view owner_name(Owner owner) {
  switch (owner) {
    case Owner::header: return "header";
    case Owner::refcount_table: return "refcount table";
    case Owner::refcount_block: return "refcount block";
    case Owner::l1_table: return "L1 table";
    case Owner::l2_table: return "L2 table";
    case Owner::snapshot_table: return "snapshot table";
    case Owner::snapshot_l1_table: return "snapshot L1 table";
    case Owner::bitmap_directory: return "bitmap directory";
    case Owner::bitmap_table: return "bitmap table";
    case Owner::bitmap_data: return "bitmap data";
    case Owner::encryption_header: break;
  }
  return "encryption header";
}

bool Image::inside(HostOffset at, std::uint64_t length_bytes) const {
  return fits_within(at.bytes, length_bytes, file_clusters << geometry.cluster_bits);
}

Task<Result<std::vector<std::uint64_t>>> read_words(Storage& storage, HostOffset at, std::uint64_t count) {
  Buffer bytes(count * 8);
  const Bytes target = bytes.bytes();
  BYRE_CO_CHECK(co_await read_zero_filled(storage, at.bytes, target));
  std::vector<std::uint64_t> words(count);
  for (std::uint64_t i = 0; i < count; ++i) words[i] = load_be64(bytes.data() + i * 8);
  co_return words;
}

Task<Result<Image>> read_image(Storage& storage, Repair repair, Findings& findings) {
  Image image;
  BYRE_CO_TRY(image.header, co_await read_header(storage));
  const format::Header& header = image.header;
  image.geometry = header.geometry();
  image.file_size_bytes = storage.size_bytes();
  image.file_clusters = image.geometry.clusters_for(image.file_size_bytes);
  image.regions.push_back({Owner::header, HostOffset(0), image.geometry.cluster_size_bytes()});
  image.regions.push_back({Owner::l1_table, header.l1_table, std::uint64_t{header.l1_entries} * 8});
  BYRE_CO_CHECK(co_await read_refcount_table(storage, image, findings));
  BYRE_CO_CHECK(co_await read_snapshots(storage, repair, image, findings));
  BYRE_CO_CHECK(co_await read_bitmaps(storage, repair, image, findings));
  if (header.encryption) {
    image.regions.push_back({Owner::encryption_header, header.encryption->offset, header.encryption->length_bytes});
  }
  co_return image;
}

}  // namespace byre::check
