// Writes of a repair, gathered to be durable together: their old bytes are saved first, then they are written, then the
// image is synced.
#pragma once

#include <vector>

#include "check/undo.h"

namespace byre::check {

class Stage {
 public:
  Stage(Storage& image, UndoLog& undo) : image_(image), undo_(undo) {}

  void put(HostOffset at, ConstBytes bytes);
  // Writes what was put so far if it has become much. A stage has no order in itself, so it may be written in parts.
  Task<Result<void>> relieve();
  // Writes the rest and makes all of the stage durable. Does nothing if nothing was put.
  Task<Result<void>> commit();

 private:
  struct Write {
    HostOffset at;
    std::vector<std::byte> bytes;
  };
  Task<Result<void>> write();

  Storage& image_;
  UndoLog& undo_;
  std::vector<Write> writes_;
  std::size_t bytes_ = 0;
  bool anything_ = false;
};

}  // namespace byre::check
