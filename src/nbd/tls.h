// TLS on a connection: what the server proves itself with, and the stream that encrypts.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "byre/nbd/server.h"
#include "byre/task/sync.h"
#include "nbd/openssl.h"
#include "nbd/stream.h"

namespace byre::nbd {

// Shared by all connections; outlives them.
class TlsContext {
 public:
  // Reads certificates and keys. Errors: unsupported (no OpenSSL here), invalid_argument, not_found, io.
  static Result<std::unique_ptr<TlsContext>> make(const TlsOptions& options);

 private:
  friend class TlsStream;
  struct Free {
    const OpenSsl* ssl = nullptr;
    void operator()(SSL_CTX* context) const { ssl->SSL_CTX_free(context); }
  };
  explicit TlsContext(const OpenSsl& ssl) : ssl_(ssl), context_(nullptr, Free{&ssl}) {}
  Result<void> use_certificates(const std::string& directory, bool verifies_peer);
  Result<void> use_keys(const std::string& path);
  static unsigned find_key(SSL* session, const char* identity, unsigned char* key, unsigned room_bytes);

  const OpenSsl& ssl_;
  std::unique_ptr<SSL_CTX, Free> context_;
  std::map<std::string, std::vector<unsigned char>, std::less<>> keys_;  // by the client's name
};

class TlsStream final : public Stream {
 public:
  // Both must outlive it.
  TlsStream(TlsContext& context, Socket& socket);

  // Before anything else.
  Task<Result<void>> handshake();
  Task<Result<std::size_t>> receive(Bytes target, Socket::Until until) override;  // at most one record
  Task<Result<void>> send(std::span<const ConstBytes> parts) override;
  // After the last send().
  Task<void> finish();

 private:
  struct Free {
    const OpenSsl* ssl = nullptr;
    void operator()(SSL* session) const { ssl->SSL_free(session); }
  };
  Task<Result<bool>> feed();
  Task<Result<void>> drain();

  const OpenSsl& ssl_;
  Socket& socket_;
  std::unique_ptr<SSL, Free> session_;
  BIO* arrived_;  // encrypted, from the socket; the session owns both
  BIO* leaving_;  // encrypted, on its way to the socket
  Semaphore sending_{1};
  Buffer buffer_;
};

}  // namespace byre::nbd
