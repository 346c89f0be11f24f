// A directory or a table that cannot be understood makes all bitmaps of the image unusable: the reader of the reference
// refuses them too (H-45, H-46). What their clusters hold can be had again; the guest's data is not touched by it.

#include "check/bitmaps.h"

#include "base/text.h"
#include "format/bitmap_directory.h"
#include "format/limits.h"

namespace byre::check {
namespace {

// The regions of one bitmap.
Task<Result<void>> read_bitmap(Storage& storage, const Image& image, const format::BitmapEntry& bitmap,
                               std::vector<Region>& regions) {
  const std::uint64_t cluster = image.geometry.cluster_size_bytes();
  BYRE_CO_CHECK(format::check_bitmap_table_length(bitmap, image.geometry, image.header.virtual_size_bytes));
  regions.push_back({Owner::bitmap_table, bitmap.table, std::uint64_t{bitmap.table_entries} * 8});
  BYRE_CO_TRY(const std::vector<std::uint64_t> words, co_await read_words(storage, bitmap.table, bitmap.table_entries));
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto entry = format::decode_bitmap_table_entry(image.geometry, words[i]);
    if (entry && entry->data.bytes == 0) continue;
    if (!entry || !image.inside(entry->data, cluster)) {
      co_return fail(ErrorCode::corrupt, "bitmap '{}': table entry {} is {:#x}: {}", escape_untrusted(bitmap.name), i,
                     words[i], entry ? "behind the end of the file" : format::describe(entry.error()));
    }
    regions.push_back({Owner::bitmap_data, entry->data, cluster});
  }
  co_return Result<void>{};
}

Task<Result<std::vector<Region>>> read_regions(Storage& storage, const Image& image) {
  const format::BitmapsExtension& extension = *image.header.bitmaps;
  BYRE_CO_CHECK(format::check_bitmaps_extension(extension, image.geometry, image.file_size_bytes));
  Buffer directory(extension.directory_bytes);
  const Bytes target = directory.bytes();
  BYRE_CO_CHECK(co_await read_zero_filled(storage, extension.directory.bytes, target));
  BYRE_CO_TRY(const auto bitmaps,
              format::decode_bitmap_directory(directory.bytes(), extension, image.geometry, image.file_size_bytes));
  std::uint64_t entries = 0;
  for (const format::BitmapEntry& bitmap : bitmaps) entries += bitmap.table_entries;
  if (entries > format::max_bitmap_table_entries_together) {
    co_return fail(ErrorCode::unsupported, "the tables of {} bitmaps have {} entries together, above the limit of {}",
                   bitmaps.size(), entries, format::max_bitmap_table_entries_together);
  }
  std::vector<Region> regions = {{Owner::bitmap_directory, extension.directory, extension.directory_bytes}};
  for (const format::BitmapEntry& bitmap : bitmaps) {
    BYRE_CO_CHECK(co_await read_bitmap(storage, image, bitmap, regions));
  }
  co_return regions;
}

}  // namespace

Task<Result<void>> read_bitmaps(Storage& storage, Repair repair, Image& image, Findings& findings) {
  const bool wanted = (image.header.autoclear_features & format::autoclear::bitmaps) != 0;
  if (!wanted) co_return Result<void>{};
  Result<std::vector<Region>> regions = fail(ErrorCode::corrupt, "the bitmaps bit is set, but there are no bitmaps");
  if (image.header.bitmaps) regions = co_await read_regions(storage, image);
  if (regions) {
    image.regions.insert(image.regions.end(), regions->begin(), regions->end());
    co_return Result<void>{};
  }
  if (regions.error().code() == ErrorCode::io) co_return std::unexpected(std::move(regions).error());
  image.bitmaps_must_go = repair == Repair::all;
  if (!image.bitmaps_must_go) {
    findings.error("bitmaps: " + regions.error().message());
    co_return Result<void>{};
  }
  Finding finding;
  finding.text = "ERROR bitmaps: " + regions.error().message();
  finding.meaning = "Dirty bitmaps cannot be used: the next incremental backup must be a full one.";
  finding.being_repaired = true;
  findings.report(finding);
  co_return Result<void>{};
}

}  // namespace byre::check
