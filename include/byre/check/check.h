// Checking a qcow2 image against docs/format.md section 22, and repairing it. It stands on the codecs and on the
// storage alone and shares no code with the engine that writes images, so that an error there cannot hide itself here.
//
//   CheckOptions options;
//   options.on_finding = [](const Finding& finding) { ... };
//   auto report = loop.run(check_image(storage, options));
//
// The storage must not be written by anyone else meanwhile. Nothing that the image names (backing file, data file) is
// opened. Without a repair nothing is written.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "byre/base/result.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"

namespace byre {

enum class FindingClass {
  leak,        // host space that nothing refers to: wasted, harmless
  corruption,  // anything else that breaks an invariant
  unchecked,   // what could not be read or followed: the check is incomplete (counted as check_errors)
  lost,        // what a repair had to give up, as a guest range or a snapshot; said once it is done
};

// One thing that is wrong, with what it means for the one whose data it is.
struct Finding {
  FindingClass kind = FindingClass::corruption;
  std::string text;                                 // one line, as docs/format.md C-11 where that names one
  std::string meaning;                              // one line: what it does to the user's data
  std::optional<std::uint64_t> host_offset_bytes;   // in the image file
  std::optional<std::uint64_t> guest_offset_bytes;  // in the disk, or in the disk of `snapshot`
  std::optional<std::uint64_t> length_bytes;        // of the guest range, where it is more than a cluster
  std::string snapshot;                             // id of the snapshot whose tables it is in; empty: active
  bool only_slower = false;                         // no data is at risk: COPIED is missing where it may stand
  bool being_repaired = false;                      // the repair that is running changes it
};

enum class Repair {
  none,
  leaks,   // lowers counts that are too high; refuses (docs/format.md 20.2) where counts are missing
  counts,  // counts and COPIED flags: all that a dirty image may have wrong (I-39). No mapping is changed
  all,     // and everything else that can be, giving up entries that point nowhere
};

struct CheckOptions {
  Repair repair = Repair::none;
  bool data = false;        // decompress every compressed cluster as well
  Storage* undo = nullptr;  // empty and writable: gets the old bytes before they are overwritten; see apply_undo()
  std::function<void(const Finding&)> on_finding;
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> on_progress;
};

// The figures of docs/format.md 20.5 and C-8, after the repair if there was one.
struct CheckReport {
  std::uint64_t check_errors = 0;  // what could not be read or followed: the result is incomplete
  std::uint64_t corruptions = 0;
  std::uint64_t leaks = 0;
  std::uint64_t corruptions_fixed = 0;
  std::uint64_t leaks_fixed = 0;
  std::uint64_t lost = 0;  // findings of class lost
  bool dirty = false;      // still marked as not closed cleanly: counts and COPIED flags may be wrong (I-39)
  std::uint64_t image_end_offset_bytes = 0;
  std::uint64_t total_clusters = 0;
  std::uint64_t allocated_clusters = 0;
  std::uint64_t fragmented_clusters = 0;
  std::uint64_t compressed_clusters = 0;

  bool clean() const { return check_errors == 0 && corruptions == 0 && leaks == 0; }
};

// Checks, and with a repair repairs what can be and checks once more. A repair plans its space first and writes nothing
// if that is not there (no_space); it writes in stages, each durable before the next, so that after a crash at any
// moment another repair completes it (O-22). The dirty and corrupt bits are cleared at its end if nothing but leaks
// remains. Memory: a quarter of a byte to one byte per referenced cluster, whatever the file's length (H-60).
// Errors: the header cannot be used, the image has a feature that is not known, I/O (also counted while it goes on, see
// check_errors), no_space, refused.
Task<Result<CheckReport>> check_image(Storage& storage, CheckOptions options);

// Puts back what a repair with `undo` overwrote, and the file's length, byte for byte. `undo` is what the repair wrote,
// complete or cut off by a crash. Errors: corrupt (not an undo file, or damaged), refused (of another image, or the
// image was changed after the repair); then nothing is written.
Task<Result<void>> apply_undo(Storage& storage, Storage& undo);

}  // namespace byre
