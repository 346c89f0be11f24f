// The second phase of a connection: requests, served side by side.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "byre/task/sync.h"
#include "nbd/export.h"
#include "nbd/outbox.h"
#include "nbd/protocol.h"
#include "nbd/wire.h"

namespace byre::nbd {

// What the negotiation led to.
struct Agreement {
  const Export* exported = nullptr;
  Style style = Style::simple;
  std::vector<Context> contexts;
};

class Transmission {
 public:
  // All of them must outlive it. Once `stopping` is true no request is taken.
  Transmission(Agreement agreement, const ServerOptions& options, const bool& stopping, Wire& wire, BufferShelf& shelf);

  // Serves until the client leaves or the socket's receiving side is shut down, and what was received by then to its
  // end. Errors: what was wrong with the connection, for the log.
  Task<Result<void>> run();

 private:
  struct Refusal {
    Errno error;
    std::string message;
  };
  using Checked = std::expected<void, Refusal>;

  Task<Result<void>> receive_requests(TaskGroup& serving);
  Task<Result<void>> receive_payload(const Request& request, Buffer& data);
  Task<Result<void>> serve(Request request, Buffer data);
  Checked check(const Request& request) const;
  Checked check_flags(const Request& request) const;
  Task<Checked> perform(const Request& request, Buffer& data);
  Task<Checked> change(const Request& request, const Buffer& data);
  Task<Checked> write_zeroes(const Request& request);
  Task<Result<void>> prefetch(const Request& request);
  Task<Checked> send_status(const Request& request);
  Checked translate(Result<void> outcome) const;
  std::uint64_t held_bytes(const Request& request) const;

  Agreement agreement_;
  const DiskPart& part_;
  Disk& disk_;
  const ServerOptions& options_;
  const bool& stopping_;
  Wire& wire_;
  InFlight in_flight_;
  BufferShelf& shelf_;
  Outbox outbox_;
};

}  // namespace byre::nbd
