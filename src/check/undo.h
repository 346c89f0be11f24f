// The old bytes of everything that a repair overwrites, so that it can be taken back. An undo file is
//
//   header     8 magic "byreundo", 8 length of the image, 24 bytes of its header that no repair changes, 4 CRC-32
//   records    8 offset, 4 length, 4 CRC-32 of all that, old bytes (zeros behind the end of the image)
//   trailer    8 all ones, 8 records, 4 CRC-32 of all recorded ranges as the repair left them, 4 CRC-32 of the trailer
//
// big-endian, each CRC over what stands before it in its part. No byte is recorded twice. Records are durable before
// what they save is overwritten; without a trailer the repair did not end, and a last record may be cut off.
#pragma once

#include <map>

#include "byre/base/buffer.h"
#include "byre/base/units.h"
#include "byre/storage/storage.h"

namespace byre::check {

class UndoLog {
 public:
  // `undo` may be null: then nothing is recorded. Both must outlive the log.
  UndoLog(Storage& image, Storage* undo) : image_(image), undo_(undo) {}

  // Writes the header, once; the image is as it was.
  Task<Result<void>> begin();
  // Saves what of the range has not been saved yet. Not durable before sync().
  Task<Result<void>> record(HostOffset at, std::uint64_t length_bytes);
  Task<Result<void>> sync();
  // The repair has ended.
  Task<Result<void>> finish();

 private:
  Task<Result<void>> append(HostOffset at, std::uint64_t length_bytes);
  Task<Result<void>> write_end(ConstBytes bytes);

  Storage& image_;
  Storage* undo_;
  std::uint64_t end_ = 0;
  std::uint64_t records_ = 0;
  std::map<std::uint64_t, std::uint64_t> saved_;  // begin -> end, disjoint, not touching
};

}  // namespace byre::check
