// What a server offers, as one of its clients sees it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "byre/base/result.h"
#include "byre/task/socket.h"

namespace byre::nbd {

struct OfferedExport {
  std::string name;
  std::string description;
  std::uint64_t size_bytes = 0;
  std::uint16_t flags = 0;                                                   // export_flag
  std::uint32_t smallest_bytes = 0, preferred_bytes = 0, largest_bytes = 0;  // of a request; 0: not told
  std::vector<std::string> contexts;
};

// Asks, and leaves in good order. The server is not trusted: what it sends is bounded. Errors: io, corrupt (it does not
// keep to the protocol), refused (it does not say).
Task<Result<std::vector<OfferedExport>>> list_exports(Socket& socket);

}  // namespace byre::nbd
