// Taking back reads the whole file twice: once to see that it is complete and of this image, then to put the bytes
// back. Only after that is the image cut to its old length. Doing it again does no harm.

#include "check/undo.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/endian.h"
#include "base/text.h"
#include "byre/check/check.h"

namespace byre::check {
namespace {

constexpr char magic[] = {'b', 'y', 'r', 'e', 'u', 'n', 'd', 'o'};
constexpr std::size_t identity_bytes = 24;
constexpr std::size_t header_bytes = 8 + 8 + identity_bytes + 4;
constexpr std::size_t record_head_bytes = 8 + 4 + 4;
constexpr std::size_t trailer_bytes = 8 + 8 + 4 + 4;
constexpr std::uint64_t trailer_mark = ~std::uint64_t{0};
constexpr std::uint64_t most_bytes_in_record = 1 << 20;

std::uint32_t crc_of(ConstBytes bytes, std::uint32_t before = 0) {
  return static_cast<std::uint32_t>(
      ::crc32(before, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

// Magic, version, cluster size, disk size and encryption: what no repair changes.
Task<Result<std::vector<std::byte>>> identity_of(Storage& image) {
  std::byte start[40];
  const Bytes target(start);
  BYRE_CO_CHECK(co_await read_zero_filled(image, 0, target));
  std::vector<std::byte> identity(start, start + 8);
  identity.insert(identity.end(), start + 20, start + 36);
  co_return identity;
}

// One record as it stands in the file.
struct Record {
  HostOffset at;
  std::vector<std::byte> bytes;
};

class UndoReader {
 public:
  UndoReader(Storage& image, Storage& undo) : image_(image), undo_(undo), end_(undo.size_bytes()) {}

  Task<Result<void>> open();
  // Nothing at the end.
  Task<Result<std::optional<Record>>> next();
  void rewind() {
    at_ = header_bytes;
    read_ = 0;
  }
  bool complete() const { return complete_; }
  std::uint32_t final_crc() const { return final_crc_; }
  std::uint64_t image_bytes() const { return image_bytes_; }

 private:
  std::unexpected<Error> damaged() const {
    return fail(ErrorCode::corrupt, "the undo file {} is damaged at byte {}", escape_untrusted(undo_.name()), at_);
  }
  Task<Result<void>> read_trailer();

  Storage& image_;
  Storage& undo_;
  std::uint64_t end_;
  std::uint64_t at_ = 0;
  std::uint64_t read_ = 0;
  std::uint64_t records_ = 0;
  std::uint64_t image_bytes_ = 0;
  std::uint32_t final_crc_ = 0;
  bool complete_ = false;
};

Task<Result<void>> UndoReader::open() {
  std::byte head[header_bytes];
  const Bytes target(head);
  BYRE_CO_CHECK(co_await read_zero_filled(undo_, 0, target));
  if (std::memcmp(head, magic, sizeof magic) != 0 ||
      load_be32(head + header_bytes - 4) != crc_of(ConstBytes(head, header_bytes - 4))) {
    co_return fail(ErrorCode::corrupt, "{} is not an undo file", escape_untrusted(undo_.name()));
  }
  image_bytes_ = load_be64(head + 8);
  BYRE_CO_TRY(const std::vector<std::byte> identity, co_await identity_of(image_));
  if (std::memcmp(identity.data(), head + 16, identity_bytes) != 0) {
    co_return fail(ErrorCode::refused, "the undo file {} belongs to another image", escape_untrusted(undo_.name()));
  }
  BYRE_CO_CHECK(co_await read_trailer());
  rewind();
  co_return Result<void>{};
}

Task<Result<void>> UndoReader::read_trailer() {
  if (end_ < header_bytes + trailer_bytes) co_return Result<void>{};
  std::byte tail[trailer_bytes];
  const Bytes target(tail);
  BYRE_CO_CHECK(co_await read_exactly(undo_, end_ - trailer_bytes, target));
  complete_ = load_be64(tail) == trailer_mark && load_be32(tail + 20) == crc_of(ConstBytes(tail, 20));
  if (!complete_) co_return Result<void>{};
  records_ = load_be64(tail + 8);
  final_crc_ = load_be32(tail + 16);
  end_ -= trailer_bytes;
  co_return Result<void>{};
}

Task<Result<std::optional<Record>>> UndoReader::next() {
  std::optional<Record> record;
  if (complete_ && read_ == records_) {
    if (at_ != end_) co_return damaged();
    co_return record;
  }
  std::byte head[record_head_bytes];
  const Bytes target(head);
  const bool has_head = end_ - at_ >= record_head_bytes;
  if (has_head) BYRE_CO_CHECK(co_await read_exactly(undo_, at_, target));
  const std::uint64_t length = has_head ? load_be32(head + 8) : 0;
  const bool whole = has_head && length <= most_bytes_in_record && length <= end_ - at_ - record_head_bytes;
  if (whole) {
    record.emplace();
    record->at = HostOffset(load_be64(head));
    record->bytes.resize(length);
    const Bytes bytes(record->bytes);
    BYRE_CO_CHECK(co_await read_exactly(undo_, at_ + record_head_bytes, bytes));
    if (load_be32(head + 12) != crc_of(record->bytes, crc_of(ConstBytes(head, 12)))) record.reset();
  }
  if (!record && complete_) co_return damaged();
  ++read_;
  at_ += record_head_bytes + length;
  co_return record;
}

// A repair that ended left exactly this; anything else was written later.
Task<Result<void>> check_unchanged(Storage& image, UndoReader& reader) {
  std::uint32_t crc = 0;
  for (;;) {
    BYRE_CO_TRY(const std::optional<Record> record, co_await reader.next());
    if (!record) break;
    std::vector<std::byte> now(record->bytes.size());
    const Bytes target(now);
    BYRE_CO_CHECK(co_await read_zero_filled(image, record->at.bytes, target));
    crc = crc_of(now, crc);
  }
  if (reader.complete() && crc != reader.final_crc()) {
    co_return fail(ErrorCode::refused, "the image was changed after the repair: taking it back would mix old and new");
  }
  co_return Result<void>{};
}

}  // namespace

Task<Result<void>> UndoLog::begin() {
  if (!undo_ || end_ > 0) co_return Result<void>{};
  std::byte head[header_bytes];
  std::memcpy(head, magic, sizeof magic);
  store_be64(head + 8, image_.size_bytes());
  BYRE_CO_TRY(const std::vector<std::byte> identity, co_await identity_of(image_));
  std::memcpy(head + 16, identity.data(), identity_bytes);
  store_be32(head + header_bytes - 4, crc_of(ConstBytes(head, header_bytes - 4)));
  const ConstBytes bytes(head);
  co_return co_await write_end(bytes);
}

Task<Result<void>> UndoLog::write_end(ConstBytes bytes) {
  BYRE_CO_CHECK(co_await write_bytes(*undo_, end_, bytes));
  end_ += bytes.size();
  co_return Result<void>{};
}

Task<Result<void>> UndoLog::record(HostOffset at, std::uint64_t length_bytes) {
  if (!undo_) co_return Result<void>{};
  const std::uint64_t end = at.bytes + length_bytes;
  std::uint64_t from = at.bytes;
  while (from < end) {
    const auto after = saved_.upper_bound(from);
    if (after != saved_.begin() && std::prev(after)->second > from) {
      from = std::prev(after)->second;
      continue;
    }
    std::uint64_t to = std::min(end, from + most_bytes_in_record);
    if (after != saved_.end()) to = std::min(to, after->first);
    BYRE_CO_CHECK(co_await append(HostOffset(from), to - from));
    saved_.emplace(from, to);
    from = to;
  }
  co_return Result<void>{};
}

Task<Result<void>> UndoLog::append(HostOffset at, std::uint64_t length_bytes) {
  std::vector<std::byte> record(record_head_bytes + length_bytes);
  const Bytes old = Bytes(record).subspan(record_head_bytes);
  BYRE_CO_CHECK(co_await read_zero_filled(image_, at.bytes, old));
  store_be64(record.data(), at.bytes);
  store_be32(record.data() + 8, static_cast<std::uint32_t>(length_bytes));
  store_be32(record.data() + 12, crc_of(old, crc_of(ConstBytes(record).first(12))));
  ++records_;
  const ConstBytes bytes(record);
  co_return co_await write_end(bytes);
}

Task<Result<void>> UndoLog::sync() {
  if (!undo_) co_return Result<void>{};
  co_return co_await undo_->flush();
}

Task<Result<void>> UndoLog::finish() {
  if (!undo_) co_return Result<void>{};
  BYRE_CO_CHECK(co_await begin());
  UndoReader reader(image_, *undo_);
  BYRE_CO_CHECK(co_await reader.open());
  std::uint32_t crc = 0;
  for (;;) {
    BYRE_CO_TRY(const std::optional<Record> record, co_await reader.next());
    if (!record) break;
    std::vector<std::byte> now(record->bytes.size());
    const Bytes target(now);
    BYRE_CO_CHECK(co_await read_zero_filled(image_, record->at.bytes, target));
    crc = crc_of(now, crc);
  }
  std::byte tail[trailer_bytes];
  store_be64(tail, trailer_mark);
  store_be64(tail + 8, records_);
  store_be32(tail + 16, crc);
  store_be32(tail + 20, crc_of(ConstBytes(tail, 20)));
  const ConstBytes bytes(tail);
  BYRE_CO_CHECK(co_await write_end(bytes));
  co_return co_await undo_->flush();
}

}  // namespace byre::check

namespace byre {

Task<Result<void>> apply_undo(Storage& storage, Storage& undo) {
  check::UndoReader reader(storage, undo);
  BYRE_CO_CHECK(co_await reader.open());
  BYRE_CO_CHECK(co_await check::check_unchanged(storage, reader));
  reader.rewind();
  for (;;) {
    BYRE_CO_TRY(const std::optional<check::Record> record, co_await reader.next());
    if (!record) break;
    const ConstBytes bytes(record->bytes);
    BYRE_CO_CHECK(co_await write_bytes(storage, record->at.bytes, bytes));
  }
  BYRE_CO_CHECK(co_await storage.flush());
  BYRE_CO_CHECK(co_await storage.resize(reader.image_bytes()));
  co_return co_await storage.flush();
}

}  // namespace byre
