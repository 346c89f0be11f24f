// Uses an image in every way there is, on a storage in memory, and says what happened.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "byre/check/check.h"
#include "byre/storage/memory.h"
#include "support/hostile_images.h"

namespace byre::test {

struct Outcome {
  std::optional<std::string> open_error;
  std::optional<std::string> request_error;  // of the one request at the image's guest offset
  std::optional<std::string> close_error;
  bool changed = false;            // any byte, or the file's length
  bool changed_but_marks = false;  // the same, leaving out the incompatible and autoclear features
  bool corrupt_bit = false;        // of the header, afterwards
};

// Opens read-only, on a storage that refuses changes, and reads a sector at the damage.
Outcome read_at_damage(const HostileImage& image);

// Opens for writing, writes at the damage, closes.
Outcome write_at_damage(const HostileImage& image);

// Read-only: reads everything (of a large disk, much), walks the status, looks at it, opens snapshot "1". Requests may
// fail. Returns whether the storage is unchanged.
bool read_everything(const HostileImage& image);

// Writes, zeroes, discards and compresses all over, four requests in flight in an order drawn from `seed`; flushes and
// closes. Requests may fail. Returns false if the disk could not be opened or something failed. `storage` keeps what is
// left.
bool change_everything(MemoryStorage& storage, std::uint64_t seed);

// Grows the disk by two L2 tables and shrinks it to one sector, closes. The same is true of its result.
bool resize_disk(MemoryStorage& storage);

// Repairs everything; if that leaves a clean image, uses it as change_everything() does and checks it again. Says what
// is wrong, or nothing: a repair that does not settle, or an image that does not stay clean.
std::string repair_and_use(const HostileImage& image, std::uint64_t seed);

std::unique_ptr<MemoryStorage> storage_of(const HostileImage& image);

// What image_info() has to complain about, and the attempt to open snapshot "1".
std::optional<std::string> info_error(const HostileImage& image);
std::optional<std::string> snapshot_error(const HostileImage& image);

}  // namespace byre::test
