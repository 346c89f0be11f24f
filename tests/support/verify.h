// verify(): recomputes the whole state of an image from its tables and compares (docs/format.md R-CNT, section 22). It
// shares no code with the engine but the codecs of format/, so an error of the engine cannot hide itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "byre/base/buffer.h"

namespace byre::test {

struct Verdict {
  std::vector<std::string> errors;      // anything that breaks an invariant, but for leaks
  std::vector<std::string> aliases;     // clusters that one tree refers to twice (I-16): what others may leave
  std::vector<std::string> leak_notes;  // the first few
  std::uint64_t leaks = 0;              // clusters whose count is higher than their references
  std::uint64_t unreferenced = 0;       // clusters of the file that nothing refers to, counted or not
  std::uint64_t payloads = 0;           // references to compressed data

  bool dirty = false;  // the dirty bit is set

  bool sound() const { return errors.empty() && aliases.empty(); }  // what a crash may leave
  bool clean() const { return sound() && leaks == 0; }
  std::string text() const;
};

// Counts and COPIED of a dirty image may be wrong in any way (I-39): they are not judged there, unless asked for.
enum class Counts { judged_if_clean, judged };

Verdict verify(ConstBytes image, Counts counts = Counts::judged_if_clean);

}  // namespace byre::test
