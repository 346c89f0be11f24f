// An export of an NBD server as a storage. Its size stays what the server said.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "byre/storage/file.h"
#include "byre/storage/storage.h"

namespace byre {

struct NbdAddress {
  std::optional<std::string> socket_path;  // a Unix socket, or else:
  std::string host;
  std::string port;
  std::string export_name;

  std::string url() const;
};

// Connects and negotiates, on the loop. Of `options` count `writable`, `cache` and `discard`. What a call does not get
// done when the connection breaks fails, as does everything later: there is no second connection. Errors: unsupported
// (no libnbd), refused (the export is read-only), io, not_found (the server has no such export).
Task<Result<std::unique_ptr<Storage>>> open_nbd(NbdAddress address, FileOptions options);

}  // namespace byre
