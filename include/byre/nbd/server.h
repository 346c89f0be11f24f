// An NBD server: disks of this library as block devices for other programs, over Unix or TCP sockets.
//
// It speaks the fixed newstyle protocol with structured replies and extended headers, and serves any number of
// connections to any number of exports on one loop: a request goes from the wire to the disk without changing threads.
// A flush on one connection covers what was answered on all of them.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "byre/base/log.h"
#include "byre/base/result.h"
#include "byre/data/disk_part.h"
#include "byre/task/socket.h"

namespace byre::nbd {

// A disk, or a part of it, under a name.
struct Export {
  std::string name;  // what clients ask for: at most 4096 bytes of UTF-8; empty: the default export
  std::string description;
  DiskPart part;
};

// What clients may make the server do. A connection never holds more memory than `in_flight_bytes`, one request more,
// and some 100 KiB; the server keeps 8 MiB of buffers for their next use.
struct Limits {
  unsigned connections = 100;  // past the negotiation; further clients are told so
  unsigned negotiations = 64;  // at a time; the oldest one makes room for a new one
  std::chrono::seconds negotiation_time{10};
  std::uint32_t request_bytes = 32 << 20;  // of data, in one read or write
  unsigned in_flight_requests = 256;       // per connection; what comes after waits unread
  std::uint64_t in_flight_bytes = 32 << 20;
};

enum class TlsMode {
  off,
  on,       // clients may ask for it
  require,  // clients that do not ask for it get nothing, and learn nothing
};

struct TlsOptions {
  TlsMode mode = TlsMode::off;
  // With server-cert.pem, server-key.pem and, to verify clients, ca-cert.pem; may be empty if there are keys.
  std::string certificate_directory;
  std::string key_file;      // lines of NAME:KEY, shared with clients (PSK), the key in hexadecimal; may be empty
  bool verify_peer = false;  // clients must have a certificate that ca-cert.pem vouches for
};

struct ServerOptions {
  Limits limits;
  TlsOptions tls;
  bool ends_with_last_client = false;  // when a client that had got an export leaves, and no other is there
  LogSink log;
};

class Server {
 public:
  // Errors: invalid_argument (two exports of one name, a part that lies outside of its disk, certificates or keys that
  // cannot be used), unsupported (TLS where there is no OpenSSL).
  static Result<std::unique_ptr<Server>> make(std::vector<Export> exports, ServerOptions options);
  virtual ~Server() = default;

  // Serves until stop(), or until the last client left where that ends it; then answers what is under way, and closes
  // the connections. The disks are neither flushed nor closed. Call once.
  virtual Task<Result<void>> run(std::vector<Listener> listeners) = 0;

  // From the loop's thread.
  virtual void stop() = 0;
};

}  // namespace byre::nbd
