// Writes what a checker found to be wrong (docs/format.md 20.2, 20.3, O-22).
#pragma once

#include "check/checker.h"
#include "check/undo.h"

namespace byre::check {

// Whether the checker's result asks for any write under this mode.
bool needs_repair(const Checker& checker, Repair repair);

// One round: plans, makes sure of the space, then writes in stages. Afterwards another check tells what is left.
// Errors: no_space (nothing was written), I/O.
Task<Result<void>> repair_image(Storage& storage, Checker& checker, Repair repair, UndoLog& undo);

// Clears the dirty and the corrupt bit, durably.
Task<Result<void>> clear_bits(Storage& storage, const Image& image, UndoLog& undo);

}  // namespace byre::check
