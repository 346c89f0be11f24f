// What an access to a storage is for, in the words of the engine that makes it: so that a storage made for tests can
// fail or hold up the third update of an L2 table (ops/node.h, driver blkdebug).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace byre {

enum class AccessEvent : std::uint8_t {
  none,                    // the storage was opened
  l1_update,               // L1 entries are written
  l1_grow_write_table,     // the L1 table is written at its new place
  l1_grow_activate_table,  // and the header points there
  l2_load,                 // entries of an L2 table are read
  l2_update,               // entries of L2 tables are written, those of new tables included
  read_aio,                // guest data is read
  read_backing_aio,        // guest data is wanted from the backing file
  read_compressed,         // a compressed payload is read
  write_aio,               // guest data is written
  write_compressed,        // a compressed payload is written
  vmstate_load,            // the state of a machine is read
  vmstate_save,            // and written
  cow_read,                // what surrounds a part of a new cluster is read
  cor_write,               // what was read from the backing file is written
  reftable_load,           // the refcount table is read
  reftable_update,         // and written, at another place
  refblock_load,           // refcounts are read
  refblock_update,         // refcounts are written
  refblock_alloc,          // a new refcount block is about to be written
  refblock_alloc_hookup,   // and linked in the refcount table
  cluster_alloc,           // host clusters have been reserved
  cluster_free,            // the host space of clusters is given back
  flush_to_os,             // metadata is about to be written back
  flush_to_disk,           // what was written is made durable
  pwritev,                 // any write
  pwritev_zero,            // any zeroing
  pwritev_done,            // a write or zeroing has ended
};

std::string_view access_event_name(AccessEvent event);
// Nothing for an unknown name, and for events of other engines that have no counterpart here.
std::optional<AccessEvent> access_event_named(std::string_view name);

}  // namespace byre
