// The functions of libnbd that the NBD client needs, from its shared library, which is loaded when the first export is
// opened: every start of the tool would pay for it otherwise (docs/decisions/0015, 0023).
#pragma once

#include <libnbd.h>

#include "byre/base/result.h"

namespace byre {

// clang-format off
#define BYRE_LIBNBD_FUNCTIONS(X) \
  X(nbd_add_meta_context) X(nbd_aio_block_status) X(nbd_aio_connect_tcp) X(nbd_aio_connect_unix) X(nbd_aio_disconnect) \
  X(nbd_aio_flush) X(nbd_aio_get_direction) X(nbd_aio_get_fd) X(nbd_aio_is_closed) X(nbd_aio_is_connecting)            \
  X(nbd_aio_is_dead) X(nbd_aio_is_ready) X(nbd_aio_notify_read) X(nbd_aio_notify_write) X(nbd_aio_pread)               \
  X(nbd_aio_pwrite) X(nbd_aio_trim) X(nbd_aio_zero) X(nbd_can_flush) X(nbd_can_fua) X(nbd_can_meta_context)            \
  X(nbd_can_trim) X(nbd_can_zero) X(nbd_close) X(nbd_create) X(nbd_get_block_size) X(nbd_get_errno) X(nbd_get_error)   \
  X(nbd_get_size) X(nbd_is_read_only) X(nbd_set_export_name)
// clang-format on

// Each member is the function of its name.
struct LibNbd {
// NOLINTBEGIN(readability-identifier-naming)
#define BYRE_LIBNBD_MEMBER(name) decltype(&::name) name = nullptr;
  BYRE_LIBNBD_FUNCTIONS(BYRE_LIBNBD_MEMBER)
#undef BYRE_LIBNBD_MEMBER
  // NOLINTEND(readability-identifier-naming)

  // Loads it once. Errors: unsupported (this system has none).
  static Result<const LibNbd*> load();

  // What went wrong in the last call, in libnbd's words.
  Error error(std::string_view what) const;
};

}  // namespace byre
