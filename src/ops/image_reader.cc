#include "ops/image_reader.h"

#include "base/text.h"
#include "data/bitmaps.h"

namespace byre::ops {

Task<Result<bool>> has_qcow2_magic(Storage& storage) {
  std::byte first[8] = {};
  const Bytes target(first);
  BYRE_CO_TRY(const std::size_t got, co_await storage.read(0, target));
  co_return got == sizeof first&& format::is_qcow2_magic(first);
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
  Buffer start(format::luks_header_bytes);
  const Bytes target = start.bytes();
  BYRE_CO_CHECK(co_await read_exactly(storage, area.offset.bytes, target));
  co_return format::decode_luks_header(start.bytes());
}

}  // namespace byre::ops
