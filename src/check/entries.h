// Judges one mapping entry, and says what a repair makes of it (docs/format.md sections 7 to 9, 20.2).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "byre/base/units.h"
#include "check/image.h"
#include "format/entry.h"

namespace byre::check {

// What Repair::all puts in place of an entry that is wrong. Entries whose host cluster can still be told keep it.
struct Replacement {
  std::uint64_t first_word = 0;
  std::uint64_t second_word = 0;  // extended L2 entries only
  bool lost = false;              // the guest range reads as if it had never been written
};

struct JudgedL1 {
  HostOffset l2_table;  // 0: none, or none that can be followed
  bool copied = false;
  std::string fault;  // empty: sound
  std::string meaning;
  std::optional<Replacement> replacement;
};
JudgedL1 judge_l1_entry(const Image& image, std::uint64_t raw);

struct JudgedL2 {
  format::L2Entry entry;  // as far as it refers to something in the file; else unallocated
  std::string fault;      // empty: sound
  std::string meaning;
  std::optional<Replacement> replacement;
};
// `raw` has geometry.l2_entry_bytes() bytes.
JudgedL2 judge_l2_entry(const Image& image, const std::byte* raw, GuestOffset guest);

}  // namespace byre::check
