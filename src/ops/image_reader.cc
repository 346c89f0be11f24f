#include "ops/image_reader.h"

#include <algorithm>

#include "base/math.h"
#include "base/text.h"
#include "data/bitmaps.h"
#include "format/limits.h"

namespace byre::ops {

namespace {

// `length_bytes` has been checked against a limit.
Task<Result<Buffer>> read_part(Storage& storage, HostOffset at, std::uint64_t length_bytes) {
  Buffer buffer(length_bytes);
  const Bytes target = buffer.bytes();
  BYRE_CO_CHECK(co_await read_exactly(storage, at.bytes, target));
  co_return buffer;
}

}  // namespace

Task<Result<bool>> has_qcow2_magic(Storage& storage) {
  std::byte first[8] = {};
  const Bytes target(first);
  BYRE_CO_TRY(const std::size_t got, co_await storage.read(0, target));
  co_return got == sizeof first&& format::is_qcow2_magic(first);
}

Task<Result<format::Header>> read_header(Storage& storage, format::HeaderUse use) {
  const std::uint64_t file_size_bytes = storage.size_bytes();
  const std::uint64_t peek_bytes = std::min<std::uint64_t>(file_size_bytes, format::header_peek_bytes);
  BYRE_CO_TRY(const Buffer peek, co_await read_part(storage, HostOffset(0), peek_bytes));
  BYRE_CO_TRY(const unsigned cluster_bits, format::peek_cluster_bits(peek.bytes()));
  const std::uint64_t length_bytes = std::min(file_size_bytes, std::uint64_t{1} << cluster_bits);
  BYRE_CO_TRY(const Buffer start, co_await read_part(storage, HostOffset(0), length_bytes));
  co_return format::decode_header(start.bytes(), file_size_bytes, use);
}

// The table's length stands nowhere: read more until the decoder is satisfied, or the file or the limit ends.
Task<Result<std::vector<format::Snapshot>>> read_snapshot_table(Storage& storage, const format::Header& header) {
  if (header.snapshot_count == 0) co_return std::vector<format::Snapshot>();
  const std::uint64_t start = header.snapshot_table.bytes;
  if (start >= storage.size_bytes()) {
    co_return fail(ErrorCode::corrupt, "the snapshot table at {:#x} lies behind the end of the file", start);
  }
  const std::uint64_t available = std::min(storage.size_bytes() - start, format::max_snapshot_table_bytes);
  std::uint64_t length = std::min(available, header.snapshot_count * format::snapshot_entry_min_bytes);
  for (;;) {
    BYRE_CO_TRY(const Buffer table, co_await read_part(storage, header.snapshot_table, length));
    BYRE_CO_TRY(const std::uint64_t needed, format::snapshot_table_bytes_needed(table.bytes(), header.snapshot_count));
    if (needed <= length || length == available) {
      co_return format::decode_snapshot_table(table.bytes(), header.snapshot_count);
    }
    length = std::min(available, std::max(needed, length * 2));
  }
}

Task<Result<std::vector<format::BitmapEntry>>> read_bitmap_directory(Storage& storage, const format::Header& header) {
  BYRE_CO_TRY(Bitmaps bitmaps, co_await read_bitmaps(storage, header));
  co_return std::move(bitmaps.entries);
}

Task<Result<format::LuksHeader>> read_luks_header(Storage& storage, const format::Header& header) {
  const format::EncryptionPointer& area = *header.encryption;
  if (area.length_bytes < format::luks_header_bytes) {
    co_return fail(ErrorCode::corrupt, "an encryption area of {} bytes is too short for a LUKS header",
                   area.length_bytes);
  }
  BYRE_CO_TRY(const Buffer start, co_await read_part(storage, area.offset, format::luks_header_bytes));
  co_return format::decode_luks_header(start.bytes());
}

}  // namespace byre::ops
