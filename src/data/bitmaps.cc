// The directory is read whole, tables in pieces: they may be long, and only what they name is kept.

#include "data/bitmaps.h"

#include <algorithm>

#include "base/endian.h"
#include "base/text.h"
#include "format/limits.h"

namespace byre {
namespace {

constexpr std::uint64_t piece_entries = 8192;

Task<Result<std::vector<format::BitmapEntry>>> read_directory(Storage& storage, const format::Header& header) {
  const format::BitmapsExtension& extension = *header.bitmaps;
  const std::uint64_t file_size_bytes = storage.size_bytes();
  BYRE_CO_CHECK(format::check_bitmaps_extension(extension, header.geometry(), file_size_bytes));
  Buffer directory(extension.directory_bytes);
  const Bytes target = directory.bytes();
  BYRE_CO_CHECK(co_await read_exactly(storage, extension.directory.bytes, target));
  co_return format::decode_bitmap_directory(directory.bytes(), extension, header.geometry(), file_size_bytes);
}

// Disjoint tables are never longer than the file, but nothing says yet that they are disjoint.
Result<void> check_total(const std::vector<format::BitmapEntry>& entries) {
  std::uint64_t total = 0;
  for (const format::BitmapEntry& entry : entries) total += entry.table_entries;
  if (total <= format::max_bitmap_table_entries_together) return {};
  return fail(ErrorCode::unsupported, "the tables of {} bitmaps have {} entries together, above the limit of {}",
              entries.size(), total, format::max_bitmap_table_entries_together);
}

Task<Result<void>> read_table(Storage& storage, const format::Geometry& geometry, const format::BitmapEntry& entry,
                              std::vector<HostOffset>& data) {
  Buffer buffer(std::min<std::uint64_t>(entry.table_entries, piece_entries) * 8);
  for (std::uint64_t first = 0; first < entry.table_entries; first += piece_entries) {
    const std::uint64_t count = std::min(entry.table_entries - first, piece_entries);
    const Bytes piece = buffer.bytes().first(count * 8);
    BYRE_CO_CHECK(co_await read_exactly(storage, entry.table.bytes + first * 8, piece));
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t raw = load_be64(piece.data() + i * 8);
      const auto decoded = format::decode_bitmap_table_entry(geometry, raw);
      if (!decoded && !entry.in_use) {
        co_return fail(ErrorCode::corrupt, "bitmap '{}': table entry {} is {:#x}: {}", escape_untrusted(entry.name),
                       first + i, raw, format::describe(decoded.error()));
      }
      if (decoded && decoded->data.bytes != 0) data.push_back(decoded->data);
    }
  }
  co_return Result<void>{};
}

}  // namespace

Task<Result<Bitmaps>> read_bitmaps(Storage& storage, const format::Header& header) {
  Bitmaps bitmaps;
  if (!header.has_valid_bitmaps()) co_return bitmaps;
  BYRE_CO_TRY(bitmaps.entries, co_await read_directory(storage, header));
  BYRE_CO_CHECK(check_total(bitmaps.entries));
  const format::Geometry geometry = header.geometry();
  for (const format::BitmapEntry& entry : bitmaps.entries) {
    BYRE_CO_CHECK(format::check_bitmap_table_length(entry, geometry, header.virtual_size_bytes));
    BYRE_CO_CHECK(co_await read_table(storage, geometry, entry, bitmaps.data));
  }
  co_return bitmaps;
}

}  // namespace byre
