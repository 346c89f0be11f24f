// One connection's bytes: as they are until the client asks for TLS, encrypted from then on.
#pragma once

#include <memory>

#include "nbd/inbox.h"
#include "nbd/stream.h"
#include "nbd/tls.h"

namespace byre::nbd {

class Wire {
 public:
  // Both must outlive it; null: there is no TLS.
  Wire(Socket& socket, TlsContext* tls) : socket_(socket), tls_(tls), plain_(socket), inbox_(plain_) {}

  Socket& socket() { return socket_; }
  Stream& stream() { return encrypted_ ? static_cast<Stream&>(*encrypted_) : plain_; }
  Inbox& inbox() { return inbox_; }

  bool can_encrypt() const { return tls_ && !encrypted_; }
  bool is_encrypted() const { return encrypted_ != nullptr; }
  // After the client was told so. Errors: it failed; the connection cannot go on.
  Task<Result<void>> encrypt();
  // Tells the other end that nothing follows, as far as it listens.
  Task<void> finish();

 private:
  Socket& socket_;
  TlsContext* tls_;
  PlainStream plain_;
  std::unique_ptr<TlsStream> encrypted_;
  Inbox inbox_;
};

}  // namespace byre::nbd
