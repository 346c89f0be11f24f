#include "byre/storage/access_event.h"

#include <algorithm>
#include <array>

namespace byre {
namespace {

struct NamedEvent {
  AccessEvent event;
  std::string_view name;
};

constexpr std::array named_events = {
    NamedEvent{AccessEvent::none, "none"},
    NamedEvent{AccessEvent::l1_update, "l1_update"},
    NamedEvent{AccessEvent::l1_grow_write_table, "l1_grow_write_table"},
    NamedEvent{AccessEvent::l1_grow_activate_table, "l1_grow_activate_table"},
    NamedEvent{AccessEvent::l2_load, "l2_load"},
    NamedEvent{AccessEvent::l2_update, "l2_update"},
    NamedEvent{AccessEvent::read_aio, "read_aio"},
    NamedEvent{AccessEvent::read_backing_aio, "read_backing_aio"},
    NamedEvent{AccessEvent::read_compressed, "read_compressed"},
    NamedEvent{AccessEvent::write_aio, "write_aio"},
    NamedEvent{AccessEvent::write_compressed, "write_compressed"},
    NamedEvent{AccessEvent::vmstate_load, "vmstate_load"},
    NamedEvent{AccessEvent::vmstate_save, "vmstate_save"},
    NamedEvent{AccessEvent::cow_read, "cow_read"},
    NamedEvent{AccessEvent::cor_write, "cor_write"},
    NamedEvent{AccessEvent::reftable_load, "reftable_load"},
    NamedEvent{AccessEvent::reftable_update, "reftable_update"},
    NamedEvent{AccessEvent::refblock_load, "refblock_load"},
    NamedEvent{AccessEvent::refblock_update, "refblock_update"},
    NamedEvent{AccessEvent::refblock_alloc, "refblock_alloc"},
    NamedEvent{AccessEvent::refblock_alloc_hookup, "refblock_alloc_hookup"},
    NamedEvent{AccessEvent::cluster_alloc, "cluster_alloc"},
    NamedEvent{AccessEvent::cluster_free, "cluster_free"},
    NamedEvent{AccessEvent::flush_to_os, "flush_to_os"},
    NamedEvent{AccessEvent::flush_to_disk, "flush_to_disk"},
    NamedEvent{AccessEvent::pwritev, "pwritev"},
    NamedEvent{AccessEvent::pwritev_zero, "pwritev_zero"},
    NamedEvent{AccessEvent::pwritev_done, "pwritev_done"},
};

}  // namespace

std::string_view access_event_name(AccessEvent event) {
  return std::ranges::find(named_events, event, &NamedEvent::event)->name;
}

std::optional<AccessEvent> access_event_named(std::string_view name) {
  const auto found = std::ranges::find(named_events, name, &NamedEvent::name);
  if (found == named_events.end()) return std::nullopt;
  return found->event;
}

}  // namespace byre
