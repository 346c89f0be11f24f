// A cut: all that was dirty at one moment, copied, in the stages in which it must reach the file (docs/ordering.md).
//
//   counts    refcount pages, new refcount blocks                              sync (guest data is synced with it)
//   table     refcount table entries                                          sync, only if there are any
//   pointer   the header's pointer to a moved refcount table                  sync, only if it moved
//   links     L2 pages                                                        sync, only if there are any
//   roots     L1 entries                                                      sync, only if there are any
//   l1_pointer  the header's pointer to a moved L1 table                      sync, only if it moved
//
// Requests go on while a cut is written: they change the pages, not the copy.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "byre/base/units.h"

namespace byre::meta {

struct CutWrite {
  HostOffset at;
  std::vector<std::byte> bytes;
};

struct Cut {
  std::vector<CutWrite> counts, table, pointer, links, roots, l1_pointer;

  // What Metadata::finish_cut() needs to know.
  std::vector<HostOffset> pages;
  std::set<std::uint32_t> table_sectors, l1_sectors;
  bool table_moved = false;
  bool l1_moved = false;
  std::uint64_t drop_mark = 0;
};

}  // namespace byre::meta
