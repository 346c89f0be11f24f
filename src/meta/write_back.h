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
//
// With lazy refcounts a cut of the mapping alone has no counts, table and pointer; these stay dirty in memory. The
// first sync can be left out then if no link in the cut needs its data to be there first (docs/decisions/0011).
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <vector>

#include "byre/base/units.h"

namespace byre::meta {

enum class CutScope : std::uint8_t {
  all,
  mapping,  // what belongs to refcounts stays dirty; only while the dirty bit is durable (O-11)
};

// What was linked since the last cut, as far as the order of data and links depends on it.
struct Links {
  // Some link must not become durable before its data (O-4): where the data is lost it would show what the cluster or
  // the payload held before, or zeros where the guest had something else.
  bool data_first = false;
  // End of the highest cluster of the others: fresh ones that replace zeros, so that without their data they read as
  // the guest's old content, provided that they lie inside the file (I-17).
  HostOffset fresh_end;

  void add(const Links& other) {
    data_first = data_first || other.data_first;
    fresh_end = std::max(fresh_end, other.fresh_end);
  }
};

struct CutWrite {
  HostOffset at;
  std::vector<std::byte> bytes;
};

struct Cut {
  std::vector<CutWrite> counts, table, pointer, links, roots, l1_pointer;
  CutScope scope = CutScope::all;  // what the cut really has
  Links made;

  // What Metadata::finish_cut() needs to know.
  std::vector<HostOffset> pages;
  std::set<std::uint32_t> table_sectors, l1_sectors;
  bool table_moved = false;
  bool l1_moved = false;
  std::uint64_t drop_mark = 0;
};

}  // namespace byre::meta
